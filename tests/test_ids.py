"""
Made ids: unique, of the documented form, and without a word about anybody else.
"""

from __future__ import annotations

import re
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from ws_isolation.ids import new_epoch, new_incident_id, new_uuid7, utc_now


@pytest.mark.scenario("S12")
def test_uuid7_is_one() -> None:
    """
    Each made id is a UUID of version 7 and the RFC's variant, lower-case with hyphens.
    """
    for text in (new_uuid7() for _ in range(1_000)):
        made = uuid.UUID(text)

        assert text == str(made)
        assert 7 == made.version
        assert uuid.RFC_4122 == made.variant


def test_uuid7_carries_the_time() -> None:
    """
    Its first 48 bits are Unix milliseconds.
    """
    before = time.time_ns() // 1_000_000
    milliseconds = uuid.UUID(new_uuid7()).int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds <= after


@pytest.mark.scenario("S01", "S12")
def test_unique() -> None:
    """
    10,000 ids are 10,000 different ones.
    """
    assert 10_000 == len({new_uuid7() for _ in range(10_000)})
    assert 10_000 == len({new_epoch() for _ in range(10_000)})


def test_all_variants_occur() -> None:
    """
    The two bits beside the variant are random as well.
    """
    assert set("89ab") == {new_uuid7()[19] for _ in range(500)}


def test_incident_ids_can_be_read_out() -> None:
    """
    An incident id is 10 hexadecimal digits.
    """
    ids = {new_incident_id() for _ in range(1_000)}

    assert 1_000 == len(ids)
    assert [] == [text for text in ids if re.fullmatch("[0-9a-f]{10}", text) is None]


def test_epochs_stand_in_a_cursor() -> None:
    """
    An epoch is 22 characters that need no escape in a URL and hold no dot.
    """
    assert [] == [e for e in (new_epoch() for _ in range(1_000)) if re.fullmatch("[A-Za-z0-9_-]{22}", e) is None]


def test_now_is_aware() -> None:
    """
    The wall clock's time is aware and in UTC.
    """
    now = utc_now()

    assert UTC is now.tzinfo
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
