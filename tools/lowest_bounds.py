"""
Print a pip constraint ``name==lowest`` for each run-time dependency and extra.

A dependency without a lower bound is an error: nobody would have tested what it allows.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?>=(?P<version>[0-9.]+)$")


def lowest_bounds() -> list[str]:
    """
    Return the constraints, sorted and each once.
    """
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    requirements = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        requirements += [r for r in extra if not r.startswith(project["name"])]
    pins: set[str] = set()
    for requirement in requirements:
        if not (match := BOUND.match(requirement)):
            message = f"no plain lower bound in {requirement!r}: write it as name>=version"
            raise SystemExit(message)
        pins.add(f"{match['name']}=={match['version']}")
    return sorted(pins)


if __name__ == "__main__":
    print("\n".join(lowest_bounds()))
