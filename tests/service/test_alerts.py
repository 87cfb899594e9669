"""`[notify]`: people hear of refusals, full filesystems and a degraded service; nobody waits for their command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from indexer.config.model import NotifyConfig
from indexer.manager import StorageManager
from indexer.service.alerts import FIRST_TRY, STEADY, Alerts
from indexer.service.daemon import Service, Session
from indexer.service.notifying import document, run_command, tell
from indexer.store import initialise_store, open_store
from tests.program import Program
from tests.service.notifications import valid
from tests.waiting import until

POLICY = """
[store]
mode = "enforce"
[guards]
min_files = 1
max_fraction = 0.4
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1d"
arrival_floor = false
min_age = "0s"
{extra}
[notify]
command = ["{command}"]
every = "1h"
"""


def make(tmp_path: Path, *, extra: str = "", root: Path | None = None, files: int = 4) -> Path:
    """Make a store of expired files that a guard keeps, and a command that writes down what it hears."""
    root = root or tmp_path / "store"
    for number in range(files):
        path = root / "temp" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
        os.utime(path, (time.time() - 10 * 86_400,) * 2)
    command = tmp_path / "tell"
    command.write_text(f"#!/bin/sh\n[ ! -e {tmp_path}/broken ] || exit 1\ncat >> {tmp_path}/told\n")
    command.chmod(0o755)
    (root / "indexer.toml").write_text(POLICY.format(command=command, extra=extra))
    initialise_store(root)
    return root


def heard(tmp_path: Path) -> list[dict[str, Any]]:
    """Return what the command was told so far."""
    path = tmp_path / "told"
    return [valid(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_refused_run_is_told_once_in_a_while(tmp_path: Path) -> None:
    """From a command line, too: which guard, why, what to do; the next time within the hour is only counted."""
    root = make(tmp_path)
    now = [time.time()]
    manager = StorageManager.of(open_store(root), clock=lambda: now[0])
    for _ in range(3):
        assert manager.run_cleanup()["refused"] == "max_fraction"
    (told,) = heard(tmp_path)
    assert (told["event"], told["guard"], told["run"], told["store"]) == ("guard_refused", "max_fraction", 1, str(root))
    assert "4 of 4 files would go" in told["reason"]
    assert told["remedy"]
    now[0] += 3601
    manager.run_cleanup()
    assert [one["suppressed"] for one in heard(tmp_path)] == [0, 2]


def test_a_dry_run_tells_nobody(tmp_path: Path) -> None:
    """It is a question."""
    root = make(tmp_path)
    StorageManager.of(open_store(root)).run_cleanup(dry_run=True)
    assert heard(tmp_path) == []


def test_what_nobody_heard_is_told_by_the_next_run(tmp_path: Path) -> None:
    """A command that fails does not use up the hour."""
    root = make(tmp_path)
    (tmp_path / "broken").touch()
    manager = StorageManager.of(open_store(root))
    manager.run_cleanup()
    (tmp_path / "broken").unlink()
    manager.run_cleanup()
    assert [one["event"] for one in heard(tmp_path)] == ["guard_refused"]


def test_a_full_filesystem_is_told_and_that_its_low_mark_cannot_be_reached(
    tmp_path: Path, mount: Callable[..., Path], program: Program
) -> None:
    """Both are told: that room was made, and that it is not enough, with what stands in the way."""
    mounted = mount("tmpfs", size=64) / "store"
    extra = '[watermark]\nmin_free = { at = "1TiB", until = "2TiB" }\norder = ["temp"]'
    root = make(tmp_path, root=mounted, extra=extra)
    policy = root / "indexer.toml"
    policy.write_text(policy.read_text().replace("max_fraction = 0.4", "max_fraction = 1"))
    program.json("scan", root)
    program.json("cleanup", "-y", root)
    reached, unreachable = heard(tmp_path)
    assert (reached["event"], reached["mark"], reached["filesystem"]) == ("watermark_reached", "min_free", "")
    assert (unreachable["event"], unreachable["stopped"]) == ("low_mark_unreachable", "exhausted")
    assert reached["purged_files"] == 4


def test_a_command_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    """A second after the timeout nothing of it is left."""
    root = make(tmp_path)
    script = tmp_path / "hang"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path}/child\nwait\n")
    script.chmod(0o755)
    config = NotifyConfig((str(script),), timeout=1)
    told = document(open_store(root), "test", time.time(), "a test")
    assert run_command(config, told) == f"{script} did not end within 1 s"
    child = int((tmp_path / "child").read_text())
    until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/nowhere/tell",), "/nowhere/tell: No such file or directory"),
        (("/bin/false",), "/bin/false: exit 1"),
        (("/bin/sh", "-c", "kill -9 $$"), "/bin/sh: was ended by signal 9"),
        (("/bin/sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x >&2; echo END >&2; exit 7"), "END"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    """Also by a command that talks without end: the last of it is kept."""
    error = run_command(NotifyConfig(command), document(open_store(make(tmp_path)), "test", 0, ""))
    assert error is not None
    assert words in error
    assert len(error) < 3000


def test_the_command_gets_one_line_of_json_and_no_shell(tmp_path: Path) -> None:
    """Names with letters that a shell would read arrive as they are."""
    out = tmp_path / "out"
    command = ("/bin/sh", "-c", 'printf "%s\\n" "$1" > "$2"; cat >> "$2"', "sh", "$(id); *", str(out))
    told = document(open_store(make(tmp_path)), "test", 7, 'say "\n"')
    assert run_command(NotifyConfig(command), told) is None
    first, second = out.read_text().splitlines()
    assert first == "$(id); *"
    assert json.loads(second) == told


class Degraded:
    """A service whose state the test sets, and a clock."""

    def __init__(self, root: Path) -> None:
        self.now = 0.0
        self.service = Service(lambda: nullcontext(cast("Session", None)))  # it is not run
        self.alerts = Alerts(open_store(root), self.service, monotonic=lambda: self.now)

    def later(self, seconds: float) -> None:
        """Let time pass, and let it look."""
        self.now += seconds
        self.alerts.look()


def test_a_degraded_service_is_told_and_its_recovery(tmp_path: Path) -> None:
    """What lasts is told once, with its reason; what passes at once wakes nobody."""
    state = Degraded(make(tmp_path))
    board = state.service.board
    board.degrade("disk_full", "no room")
    state.later(1)
    board.recover("disk_full")
    state.later(1)
    board.degrade("canary_failed", "nothing was seen")
    state.later(1)
    assert heard(tmp_path) == []
    state.later(STEADY)
    state.later(1)
    (told,) = heard(tmp_path)
    assert (told["event"], told["reason"], told["detail"]) == ("degraded", "canary_failed", "nothing was seen")
    board.recover("canary_failed")
    state.later(1)
    assert [one["event"] for one in heard(tmp_path)] == ["degraded", "recovered"]


def test_a_failed_alert_is_tried_again_later(tmp_path: Path) -> None:
    """With a growing distance, and only the last word about each reason."""
    state = Degraded(make(tmp_path))
    (tmp_path / "broken").touch()
    state.service.board.degrade("index_error", "no")
    state.later(0)
    state.later(STEADY)
    (tmp_path / "broken").unlink()
    state.later(FIRST_TRY / 2)
    assert heard(tmp_path) == []
    state.later(FIRST_TRY)
    assert [one["reason"] for one in heard(tmp_path)] == ["index_error"]


def test_without_a_ledger_to_write_people_are_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is when it matters; the process remembers what it told."""
    root = make(tmp_path)
    store = open_store(root)
    monkeypatch.setattr("indexer.service.notifying.Ledger.open", _no_room)
    events = [("x", document(store, "test", 1000, ""))]
    assert [tell(store, events, at) for at in (1000, 1010, 5000)] == [[], [], []]
    assert len(heard(tmp_path)) == 2


def _no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_service_tells_when_its_configuration_breaks(tmp_path: Path, program: Program) -> None:
    """End to end: an invalid edit degrades the service, and the command that is still in force hears of it."""
    root = make(tmp_path)
    with program.watch(root):
        (root / "indexer.toml").write_text("nonsense")
        until(lambda: [one["reason"] for one in heard(tmp_path)] == ["policy_error"])
