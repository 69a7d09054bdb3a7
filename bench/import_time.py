"""
Measure what ``import ws_isolation`` costs beyond the two libraries that it stands on.

Fresh interpreters, the two imports in turn so that a change of the machine's speed hits both;
medians of fifteen. The target is at most 60 ms more. Standard library only.
"""

import statistics
import subprocess
import sys

ROUNDS = 15
TARGET_MS = 60.0
BASE = "import msgspec, attrs"
OURS = "import ws_isolation"


def measure(statement: str) -> float:
    """
    Return the milliseconds that *statement* takes in a fresh interpreter.
    """
    script = f"from time import perf_counter as now; start = now();{statement}; print((now() - start) * 1000)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    """
    Print both medians and the difference; return 1 if it misses the target.
    """
    for statement in (BASE, OURS):
        measure(statement)  # the first import may compile, which is not what is measured
    base: list[float] = []
    ours: list[float] = []
    for _ in range(ROUNDS):
        base.append(measure(BASE))
        ours.append(measure(OURS))

    difference = statistics.median(ours) - statistics.median(base)
    print(f"{BASE:<24}{statistics.median(base):7.1f} ms  (median of {ROUNDS})")
    print(f"{OURS:<24}{statistics.median(ours):7.1f} ms  (median of {ROUNDS})")
    print(f"{'difference':<24}{difference:7.1f} ms  (target: at most {TARGET_MS:.0f} ms)")
    return int(difference > TARGET_MS)


if __name__ == "__main__":
    sys.exit(main())
