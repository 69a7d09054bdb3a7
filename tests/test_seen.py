"""
The window of an identity's message ids.
"""

from __future__ import annotations

from ws_isolation.seen import SeenIds


def test_taken_once() -> None:
    """
    An id is taken once, and again after it was forgotten.
    """
    seen = SeenIds(3, 10.0)

    assert [True, False, True] == [seen.take("a", 0.0), seen.take("a", 1.0), seen.take("b", 1.0)]
    seen.forget("a")
    seen.forget("never")
    assert seen.take("a", 2.0)
    assert 2 == len(seen)


def test_bounded_in_count() -> None:
    """
    The oldest goes first where there are too many.
    """
    seen = SeenIds(2, 10.0)
    for name in "abc":
        assert seen.take(name, 0.0)

    assert 2 == len(seen)
    assert not seen.take("c", 0.0)
    assert seen.take("a", 0.0)


def test_bounded_in_age() -> None:
    """
    An id is kept from when it was first taken, to the second.
    """
    seen = SeenIds(9, 10.0)
    seen.take("a", 0.0)
    seen.take("b", 5.0)

    assert not seen.take("a", 9.9)
    assert seen.take("a", 10.0)
    assert not seen.take("b", 10.0)
    assert seen.take("x", 99.0)
    assert 1 == len(seen)
