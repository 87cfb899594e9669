"""Makes or updates the virtual environment of scripts/indexer; runs on any Python >= 3.11, standard library only.

Two first starts at once make one environment: the second waits for the lock and finds it done. What was interrupted
has no `made-for.toml` and is made again from nothing. Every interpreter is started with -P: modules in the current
directory are not ours.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

MADE_FOR = "made-for.toml"
MADE_IN = "made-in"


class FailedError(Exception):
    """A command failed; holds what it printed."""


def main(root: Path, places: list[Path]) -> int:
    """Make the environment in the first of `places` that can be written to; returns the exit code."""
    venv = next((place for place in places if writable(place)), None)
    if venv is None:
        print(f"scripts/indexer: no place for its environment: {', '.join(map(str, places))}", file=sys.stderr)
        return 1
    with open(venv.with_name(venv.name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(root, venv):
            return 0
        print("indexer: preparing its Python environment (once)", file=sys.stderr)
        try:
            make(root, venv)
        except FailedError as error:
            print(f"{error}\nscripts/indexer: the environment could not be made in {venv}", file=sys.stderr)
            return 1
    return 0


def writable(place: Path) -> bool:
    """Say whether an environment can be made at `place`; makes the directories above it."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place.parent, os.W_OK) and (not place.exists() or os.access(place, os.W_OK))


def is_current(root: Path, venv: Path) -> bool:
    """Say whether `venv` was completed for this checkout at this place."""
    try:
        made_in = (venv / MADE_IN).read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
        return made_in == str(root) and (venv / MADE_FOR).read_bytes() == (root / "pyproject.toml").read_bytes()
    except FileNotFoundError:
        return False


def make(root: Path, venv: Path) -> None:
    """Update an environment that was complete, or make it from nothing. Raises FailedError."""
    wanted = (root / "pyproject.toml").read_bytes()
    complete = (venv / MADE_FOR).exists() and (venv / "bin" / "python").exists()
    (venv / MADE_FOR).unlink(missing_ok=True)
    try:
        if not complete:
            raise FailedError
        install(root, venv)
    except FailedError:
        create(venv)
        install(root, venv)
    (venv / MADE_IN).write_text(f"{root}\n", encoding="utf-8", errors="surrogateescape")
    partial = venv / (MADE_FOR + ".partial")
    partial.write_bytes(wanted)
    partial.rename(venv / MADE_FOR)


def create(venv: Path) -> None:
    """Make an empty environment; without a pip of its own where the system has split off ensurepip (Debian)."""
    for options in ([], ["--without-pip"]):
        shutil.rmtree(venv, ignore_errors=True)
        try:
            run([sys.executable, "-P", "-m", "venv", *options, os.fspath(venv)])
        except FailedError:
            if options:
                raise
        else:
            return


def install(root: Path, venv: Path) -> None:
    """Install this checkout, editable, with the versions it is tested with."""
    python = os.fspath(venv / "bin" / "python")
    has_pip = subprocess.run([python, "-P", "-c", "import pip"], capture_output=True, check=False).returncode == 0
    pip = [python, "-P", "-m", "pip"] if has_pip else [sys.executable, "-P", "-m", "pip", "--python", python]
    constraints = root / "requirements" / "test.lock"
    run(
        [
            *pip,
            *("install", "--quiet", "--disable-pip-version-check", "--no-input"),
            *(["--constraint", os.fspath(constraints)] if constraints.exists() else []),
            *("--editable", os.fspath(root)),
        ]
    )


def run(command: list[str]) -> None:
    """Run a command in silence; FailedError holds its output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise FailedError(done.stdout.rstrip())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(place) for place in dict.fromkeys(sys.argv[2:])]))
