"""
Made ids: unique, of the documented form, and without a word about anybody else.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
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


def test_a_fork_makes_others() -> None:
    """
    A forked process goes on with random bits of its own: what its parent has read for ids to come, it drops.
    """
    new_uuid7()
    ends, (read, write) = 300, os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        os.write(write, " ".join(new_uuid7()[14:] for _ in range(ends)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = set(pipe.read().split())
    os.waitpid(child, 0)
    ours = {new_uuid7()[14:] for _ in range(ends)}

    assert ends == len(theirs) == len(ours)
    assert not theirs & ours


def _some(count: int) -> list[str]:
    return [new_uuid7() for _ in range(count)]


def test_threads_make_others() -> None:
    """
    Threads that make ids at the same time never get the same.
    """
    with ThreadPoolExecutor(8) as pool:
        made = [text for texts in pool.map(_some, [2_000] * 8) for text in texts]

    assert 16_000 == len(set(made))
