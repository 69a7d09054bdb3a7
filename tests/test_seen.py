"""
The window of an identity's message ids.
"""

from __future__ import annotations

from ws_isolation.seen import SeenIds


def test_taken_once() -> None:
    """
    An id is taken once, and again after the message that it was taken for was forgotten.
    """
    seen, one, other = SeenIds(3, 10.0), object(), object()

    assert [True, False, True] == [seen.take("a", 0.0, one), seen.take("a", 1.0, other), seen.take("b", 1.0, other)]
    seen.forget("a", other)
    seen.forget("never", one)
    assert not seen.take("a", 2.0, other)
    seen.forget("a", one)
    assert seen.take("a", 2.0, other)
    assert 2 == len(seen)


def test_bounded_in_count() -> None:
    """
    The oldest goes first where there are too many.
    """
    seen = SeenIds(2, 10.0)
    for name in "abc":
        assert seen.take(name, 0.0, None)

    assert 2 == len(seen)
    assert not seen.take("c", 0.0, None)
    assert seen.take("a", 0.0, None)


def test_bounded_in_age() -> None:
    """
    An id is kept from when it was first taken, to the second.
    """
    seen = SeenIds(9, 10.0)
    seen.take("a", 0.0, None)
    seen.take("b", 5.0, None)

    assert not seen.take("a", 9.9, None)
    assert seen.take("a", 10.0, None)
    assert not seen.take("b", 10.0, None)
    assert seen.take("x", 99.0, None)
    assert 1 == len(seen)
