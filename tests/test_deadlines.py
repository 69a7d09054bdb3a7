"""
When something has to be looked at again: in order, once each, and keeping nothing alive.
"""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_isolation.deadlines import Deadlines


class Item:
    """
    Something that has deadlines; not comparable.
    """


def test_in_order() -> None:
    """
    What is due comes out earliest first, equal times in the order in which they came, the rest stays.
    """
    deadlines: Deadlines[Item] = Deadlines()
    one, two, three, later = Item(), Item(), Item(), Item()
    for when, item in ((2.0, two), (1.0, one), (2.0, three), (9.0, later)):
        deadlines.add(when, item)

    assert 1.0 == deadlines.next()
    assert [one, two, three] == deadlines.due(2.0)
    assert [] == deadlines.due(8.9)
    assert (9.0, 1) == (deadlines.next(), len(deadlines))
    assert [later] == deadlines.due(9.0)
    assert deadlines.next() is None


@given(whens=st.lists(st.floats(0, 100), max_size=30), now=st.floats(0, 100))
def test_each_entry_once(whens: list[float], now: float) -> None:
    """
    An item comes out once for each entry that is due.
    """
    deadlines: Deadlines[Item] = Deadlines()
    item = Item()
    for when in whens:
        deadlines.add(when, item)

    due = sum(when <= now for when in whens)
    assert [item] * due == deadlines.due(now)
    assert len(whens) - due == len(deadlines)


@pytest.mark.scenario("S38")
def test_keeps_nothing_alive() -> None:
    """
    What nobody else holds is gone, and does not come out.
    """
    deadlines: Deadlines[Item] = Deadlines()
    kept = Item()
    deadlines.add(1.0, Item())
    deadlines.add(1.0, kept)
    gc.collect()

    assert [kept] == deadlines.due(1.0)
