"""`remove_empty_dirs` from outside: what has long been empty goes too, what is young, held or another class's stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Call
from tests.program import REPOSITORY
from tests.trees import walk

POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
[[class]]
name = "frames"
match = ["frames/**"]
exclude = ["frames/keep/**"]
ttl = "7d"
min_age = "1h"
arrival_floor = false
remove_empty_dirs = true
action = "trash"
[[class]]
name = "outputs"
match = ["outputs/**"]
"""
OLD = 1_500_000_000


def _store(root: Path, call: Call) -> None:
    assert call("init", root, "--profile", "empty").code == 0
    (root / "indexer.toml").write_text(POLICY, encoding="utf-8")
    for folder in ("frames/old/inner", "frames/held/job", "frames/young", "frames/keep/it", "frames/full", "outputs/a"):
        (root / folder).mkdir(parents=True)
    (root / "frames/full/x").write_bytes(b"x")
    for folder in ("frames/old/inner", "frames/old", "frames/held/job", "frames/held", "frames/keep/it", "outputs/a"):
        os.utime(root / folder, (OLD, OLD))


def _directories(root: Path) -> set[str]:
    return {
        os.path.relpath(folder, root)
        for folder, _, _ in os.walk(root)
        if not os.path.relpath(folder, root).startswith(".")
    }


def test_what_has_long_been_empty_goes_too(tmp_path: Path, call: Call) -> None:
    """Empty for min_age and in a class that wants it: gone; young, held, leased, excluded, or elsewhere: there."""
    _store(tmp_path, call)
    assert call("scan", tmp_path).code == 0
    assert call("-C", tmp_path, "hold", "frames/held/job/not-yet").code == 0
    before = _directories(tmp_path)
    assert call("-C", tmp_path, "expire", "-n", "--json").document["directories_removed"] == 2
    goes = ["frames/old", "frames/old/inner"]
    assert call("plan", tmp_path, "--json").document["empty_directories"] == goes
    assert call("plan", tmp_path, "--class", "frames", "--json").document["empty_directories"] == goes
    assert call("plan", tmp_path, "--class", "outputs", "--json").document["empty_directories"] == []
    assert "Empty directories that would go: 2" in call("plan", tmp_path).stdout
    assert _directories(tmp_path) == before
    done = call("-C", tmp_path, "expire", "-y", "--json")

    assert (done.code, done.document["directories_removed"]) == (0, 2)
    assert before - _directories(tmp_path) == {"frames/old", "frames/old/inner"}
    assert (tmp_path / "frames/full/x").exists()


def test_a_run_after_a_crash_sees_what_it_puts_back(tmp_path: Path, call: Call) -> None:
    """Files that a killed run left in the trash are back before the next run makes its plan, so it removes them too."""
    _store(tmp_path, call)
    (tmp_path / "indexer.toml").write_text(POLICY.replace('"trash"', '"delete"'), encoding="utf-8")
    (tmp_path / "frames/full/x").unlink()
    for number in range(5):
        path = tmp_path / f"frames/full/{number}"
        path.write_bytes(b"old")
        os.utime(path, (OLD, OLD))
    assert call("scan", tmp_path).code == 0
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, "-C", tmp_path, "expire", "-y"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((tmp_path / ".indexer/trash").iterdir())) == 3

    done = call("-C", tmp_path, "expire", "-y", "--json")
    assert (done.code, done.document["files_removed"]) == (0, 5)
    assert not [path for path in walk(tmp_path) if path.startswith(b"frames/full/")]
    assert list((tmp_path / ".indexer/trash").iterdir()) == []


_KILLED = """
import os, signal, sys
from indexer.cli.main import run
from indexer.enforce import hooks
left = [3]
def at(window, name=b""):
    if window == "rename.after":
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
hooks.at = at
run(sys.argv[1:])
"""
