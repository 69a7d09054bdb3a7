"""
Inputs and effects are values: frozen, compared by what they hold, each kind with its line of documentation.
"""

from __future__ import annotations

from typing import get_args

import pytest

from tests.cores import one_of_each
from ws_isolation import closing, steps

KINDS: tuple[type, ...] = (*get_args(steps.Input), *get_args(steps.Effect))


def test_each_kind_is_exported_and_documented() -> None:
    """
    The two unions are all there is, and each kind says what it stands for.
    """
    assert sorted({kind.__name__ for kind in KINDS} | {"Input", "Effect"}) == list(steps.__all__)
    assert [] == [kind.__name__ for kind in KINDS if not (kind.__doc__ or "").endswith(".")]
    assert {type(happened) for happened in one_of_each()} == set(get_args(steps.Input))


def test_values() -> None:
    """
    Two steps that hold the same are equal, and none can be changed.
    """
    one, other = steps.Ticked(1.0), steps.Ticked(1.0)
    assert one == other
    assert one != steps.Ticked(2.0)
    assert steps.Ended(closing.NORMAL, 1.0) == steps.Ended(closing.NORMAL, 1.0, None)
    assert steps.Wake() == steps.Wake()
    with pytest.raises(AttributeError):
        steps.Ticked(1.0).now = 2.0  # type: ignore[misc]  # what must fail
