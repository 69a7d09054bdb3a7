"""
What is measured of processes and an engine is what the table says.
"""

from __future__ import annotations

from bench.capacity import memory, table


def test_the_table() -> None:
    """
    CPU for each event, what follows from it for a second of a core, and memory.
    """
    numbers = {"cpu_us": 150.0, "sender_us": 50.0, "engine_us": 25.0, "p50_us": 480.0, "p99_us": 3_000.0}
    lines = table(numbers, {20: 2_048.0}).splitlines()

    assert "| CPU of the node that delivers to a socket, for each event | 100 µs |" in lines
    assert "| events a second that one core sends | 20,000 |" in lines
    assert "| events a second that one engine carries | 40,000 |" in lines
    assert "| from `send()` to the socket on the other node, p50 | 0.48 ms |" in lines
    assert lines[-1].endswith("20 events with 200 bytes of text | 2.0 KiB |")


def test_memory() -> None:
    """
    More events hold more of the engine, each at least its own size.
    """
    assert memory(20, 40) - memory(20, 20) > 20 * 200
