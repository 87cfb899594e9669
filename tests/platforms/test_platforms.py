"""Other systems, as far as one can look at them from Linux: what they lack is taken away first (lacking.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.program import Program
from tests.trees import File, make

LACKING = Path(__file__).with_name("lacking.py")


@pytest.fixture
def darwin() -> Program:
    """Return the program without what macOS lacks."""
    return _program("darwin")


@pytest.fixture
def windows() -> Program:
    """Return the program without what Windows lacks."""
    return _program("win32")


def _program(system: str) -> Program:
    repository = str(LACKING.parent.parent.parent)
    return Program((sys.executable, str(LACKING), system), {"PYTHONPATH": repository})


def test_without_linux_everything_but_removal_works(darwin: Program, tmp_path: Path) -> None:
    """On macOS the index agrees with a walk, live by the native backend; plans are made, and a run is refused."""
    store = tmp_path / "store"
    make(store, {"temp": {"old": File(b"old", mtime=0)}, "frames": {"a": b"a"}})
    (store / "indexer.toml").write_text(
        '[store]\nmode = "enforce"\n[[class]]\nname = "temp"\nmatch = ["temp/**"]\nttl = "1d"\naction = "trash"\n'
        'arrival_floor = false\nmin_age = "0s"\n'
    )
    with darwin.watch(store) as service:
        (store / "frames" / "new").write_bytes(b"new")
        (store / "frames" / "a").unlink()
        service.settle()
        status = darwin.json("-C", store, "status")
        assert (status["backend"], status["state"]) == ("native", "clean")
        assert darwin.differences(store) == {}
        plan = darwin.json("-C", store, "plan")
        assert [action["path"] for action in plan["actions"]] == ["temp/old"]
    refused = darwin.json("-C", store, "expire", "--yes", exits=3)
    assert refused["refused"] == "platform"
    assert (store / "temp" / "old").exists()


@pytest.mark.parametrize("command", ["scan", "watch", "plan", "expire", "doctor"])
def test_windows_is_told_where_to_run(windows: Program, tmp_path: Path, command: str) -> None:
    """On Windows a command ends in one sentence with its remedy, and exit 3; nothing is written."""
    done = windows.run(command, tmp_path, exits=3)
    assert done.stderr.startswith("indexer: indexer does not run on Windows itself")
    assert "WSL 2" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_windows_tells_json_readers_too(windows: Program, tmp_path: Path) -> None:
    """The sentence has a stable word, `platform`."""
    document = json.loads(windows.run("scan", tmp_path, "--json", exits=3).stdout)
    assert document["error"]["code"] == "platform"


def test_windows_shows_help_and_version(windows: Program) -> None:
    """What needs no tree works anywhere."""
    assert "indexer, version" in windows.run("--version").stdout
    assert "expire" in windows.run("--help").stdout
