"""
Print one interpreter for each supported Python that this machine really runs, a line each.

A name on the PATH proves nothing: a version manager's shims exist for versions that are not
selected, and fail. So each candidate is run and asked for its version. Where pyenv is
installed, it is asked for the versions it keeps as well.
"""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
CLASSIFIER = "Programming Language :: Python :: 3."


def supported() -> list[str]:
    """
    Return the minor versions that the classifiers name, such as ``3.11``.
    """
    classifiers = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["classifiers"]
    return ["3." + c.removeprefix(CLASSIFIER) for c in classifiers if c.startswith(CLASSIFIER)]


def _output(*command: str) -> str:
    """
    Return what *command* prints, or nothing if it cannot run or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def candidates(version: str) -> Iterator[str]:
    """
    Yield what may be Python *version*: this one, the PATH's, pyenv's.
    """
    yield sys.executable
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    if pyenv := shutil.which("pyenv"):
        root = _output(pyenv, "root")
        kept = [name for name in _output(pyenv, "versions", "--bare").split() if root]
        for name in reversed(kept):
            if name.startswith(f"{version}."):
                yield str(Path(root) / "versions" / name / "bin" / "python")


def interpreter(version: str) -> str | None:
    """
    Return the real path of a Python *version* that runs and makes environments, or None.
    """
    ask = (
        "import ensurepip, sys, venv;"
        "print('%d.%d' % sys.version_info[:2], getattr(sys, '_base_executable', sys.executable))"
    )
    for candidate in candidates(version):
        found, _, path = _output(candidate, "-c", ask).partition(" ")
        if found == version and path:
            return path
    return None


def main() -> None:
    """
    Print the interpreters; say on standard error which versions are not there.
    """
    for version in supported():
        path = interpreter(version)
        if path is None:
            print(f"no Python {version} on this machine: not tested", file=sys.stderr)
        else:
            print(path)


if __name__ == "__main__":
    main()
