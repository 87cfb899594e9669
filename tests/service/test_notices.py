"""Notice before removal: a file goes only so long after a published notice that named it, as it still is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce import hooks
from indexer.index.queries import Reader
from indexer.manager import StorageManager
from indexer.service import coming
from indexer.service.noticer import Noticer
from indexer.store import initialise_store, open_store
from tests.program import Program
from tests.service.notifications import valid

DAY = 86_400
POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "10d"
arrival_floor = false
min_age = "1s"
warn_before = "3d"
{extra}
[notify]
command = ["{command}", "an argument; not a shell's"]
by = "{by}"
"""
TELL = """#!/bin/sh
[ "$1" = "an argument; not a shell's" ] || exit 9
[ -e {here}/broken ] && {{ echo "no mail server" >&2; exit 3; }}
cat >> {here}/told
"""


class Told:
    """A store, a clock of its own, and what the command has heard."""

    def __init__(self, root: Path, here: Path) -> None:
        self.root, self.here = root, here
        self.now = time.time()
        self.manager = StorageManager.of(open_store(root), clock=lambda: self.now)

    def heard(self) -> list[dict[str, Any]]:
        """Return what the command was told, and forget it."""
        path = self.here / "told"
        if not path.exists():
            return []
        documents = [valid(json.loads(line)) for line in path.read_text().splitlines()]
        path.unlink()
        return documents

    def clean(self) -> dict[str, Any]:
        """Run a cleanup."""
        return self.manager.run_cleanup()

    def kept(self) -> dict[str, int]:
        """Return why what is due stays, where all of it does."""
        plan = self.manager.plan()
        assert plan["actions"] == []
        return dict(plan["kept"])

    def reload(self) -> None:
        """Go by the edited policy."""
        self.manager = StorageManager.of(open_store(self.root), clock=lambda: self.now)


def store(tmp_path: Path, *, by: str = "class", extra: str = "", files: dict[str, float] | None = None) -> Told:
    """Make a store of files that were written so many days ago, and a command that hears."""
    root, here = tmp_path / "store", tmp_path
    command = here / "tell"
    command.write_text(TELL.format(here=here))
    command.chmod(0o755)
    for name, days in (files or {"temp/old": 11, "temp/soon": 8, "temp/young": 1}).items():
        write(root, name, days)
    (root / "indexer.toml").write_text(POLICY.format(command=command, by=by, extra=extra))
    initialise_store(root)
    return Told(root, here)


def write(root: Path, name: str, days: float, size: int = 5000) -> None:
    """Make a file that was written so many days ago."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - days * DAY,) * 2)


def test_nothing_goes_before_a_notice_has_named_it_and_its_time_has_passed(tmp_path: Path) -> None:
    """What is past its ttl waits whole three days from the notice; what is named early goes on its day."""
    told = store(tmp_path)
    assert told.kept() == {"no_notice": 1}
    done = told.clean()
    assert (done["files_removed"], done["kept"]) == (0, {"no_notice": 1})
    assert done["notices"] == {"files": 2, "published": 1, "failed": None}
    (notice,) = told.heard()
    assert (notice["schema"], notice["event"], notice["class"]) == ("indexer.notification/1", "expiring", "temp")
    assert [action["path"] for action in notice["actions"]] == ["temp/old", "temp/soon"]
    old, soon = notice["actions"]
    assert old["goes_at"] == int(told.now) + 3 * DAY == soon["goes_at"] == notice["goes_from"]
    assert told.clean()["notices"] == {"files": 0, "published": 0, "failed": None}
    assert told.heard() == []
    told.now += 3 * DAY - 60
    assert told.kept() == {"notice_period": 2}
    told.now += 120
    assert {one["path"] for one in told.manager.plan()["actions"]} == {"temp/old", "temp/soon"}
    assert told.clean()["files_removed"] == 2
    assert sorted(os.listdir(told.root / "temp")) == ["young"]


def test_a_shortened_ttl_waits_too(tmp_path: Path) -> None:
    """Nobody has been told of files that an edit of the policy makes due: they wait."""
    told = store(tmp_path, files={"temp/young": 1})
    assert told.clean()["notices"]["files"] == 0
    policy = told.root / "indexer.toml"
    policy.write_text(policy.read_text().replace('ttl = "10d"', 'ttl = "1h"'))
    told.reload()
    done = told.clean()
    assert (done["files_removed"], done["kept"], done["notices"]["files"]) == (0, {"no_notice": 1}, 1)


def test_touching_a_file_after_its_notice_wants_a_new_one(tmp_path: Path) -> None:
    """A younger clock is another promise, also where the file is due all the same, and also at the last moment."""
    told = store(tmp_path, files={"temp/a": 30, "temp/b": 30})
    told.clean()
    told.now += 4 * DAY
    os.utime(told.root / "temp/a", (time.time() - 20 * DAY,) * 2)
    plan = told.manager.plan()
    assert ([one["path"] for one in plan["actions"]], plan["kept"]) == (["temp/b"], {"no_notice": 1})
    told.heard()
    assert told.clean()["files_removed"] == 1
    (notice,) = told.heard()
    assert [action["path"] for action in notice["actions"]] == ["temp/a"]


def test_a_touch_between_plan_and_removal_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look is at the file itself: written since it was named, it stays, though it is due by its clock."""
    told = store(tmp_path, files={"temp/a": 30})
    told.clean()
    told.now += 4 * DAY

    def touch(window: str, _name: bytes = b"") -> None:
        if window == "ledger.after":
            os.utime(told.root / "temp/a", (time.time() - 20 * DAY,) * 2)

    monkeypatch.setattr(hooks, "at", touch)
    done = told.clean()
    assert (done["files_removed"], done["kept"]) == (0, {"no_notice": 1})


def test_another_file_under_the_name_was_not_named(tmp_path: Path) -> None:
    """A notice speaks of a file, not of a name."""
    told = store(tmp_path, files={"temp/a": 30})
    told.clean()
    told.now += 4 * DAY
    (told.root / "temp/a").unlink()
    write(told.root, "temp/b", 30)
    (told.root / "temp/b").rename(told.root / "temp/a")
    assert told.kept() == {"no_notice": 1}


def test_a_failing_command_publishes_nothing_and_is_tried_again_later(tmp_path: Path) -> None:
    """Not published is not named: the file stays, status says why, and each further try waits twice as long."""
    told = store(tmp_path, files={"temp/a": 30})
    (tmp_path / "broken").touch()
    done = told.clean()
    assert done["notices"]["files"] == 0
    assert "exit 3: no mail server" in done["notices"]["failed"]
    status = told.manager.status()["notices"]
    assert (status["files"], status["failures"], status["next_try"]) == (0, 1, int(told.now) + 60)
    (tmp_path / "broken").unlink()
    told.now += 30
    assert "no mail server" in told.clean()["notices"]["failed"]
    assert told.heard() == []
    (tmp_path / "broken").touch()
    told.now += 40
    told.clean()
    assert told.manager.status()["notices"]["next_try"] == int(told.now) + 120
    (tmp_path / "broken").unlink()
    told.now += 121
    assert told.clean()["notices"] == {"files": 1, "published": 1, "failed": None}
    assert told.manager.status()["notices"]["failures"] == 0
    assert told.clean()["kept"] == {"notice_period": 1}


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("class", [("temp", None, None, 3)]),
        ("child", [("temp", "temp/job-1", None, 2), ("temp", "temp/job-2", None, 1)]),
        ("owner", [(None, None, 0, 2), (None, None, 1234, 1)]),
    ],
)
def test_a_notice_for_each_class_child_or_owner(tmp_path: Path, by: str, groups: list[tuple[Any, ...]]) -> None:
    """Everybody hears of their own files, and of nobody else's."""
    told = store(tmp_path, by=by, files={"temp/job-1/a": 30, "temp/job-1/b": 30, "temp/job-2/c": 30})
    os.chown(told.root / "temp/job-1/b", 1234, 1234)
    assert told.clean()["notices"]["published"] == len(groups)
    heard = [(one["class"], one["child"], one["uid"], one["files"]) for one in told.heard()]
    assert sorted(heard, key=str) == sorted(groups, key=str)


def test_held_files_are_not_named(tmp_path: Path) -> None:
    """They will not go, so nobody is told that they will; released, they wait their time."""
    told = store(tmp_path, files={"temp/a": 30})
    told.manager.hold("temp/a")
    assert told.clean()["notices"]["files"] == 0
    told.manager.release("temp/a")
    assert told.kept() == {"no_notice": 1}
    assert told.clean()["notices"]["files"] == 1


def test_many_files_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is told and recorded before the next is gathered; none is named twice, none is left out."""
    monkeypatch.setattr(coming, "PART", 7)
    told = store(tmp_path, files={f"temp/{number:03}": 30 - number % 3 for number in range(40)})
    assert told.clean()["notices"] == {"files": 40, "published": 6, "failed": None}
    named = [action["path"] for notice in told.heard() for action in notice["actions"]]
    assert sorted(named) == [f"temp/{number:03}" for number in range(40)]


def test_what_a_quota_would_take_is_named_first(tmp_path: Path) -> None:
    """A quota waits as well: it takes what was named long enough ago, and no more than it needs."""
    told = store(
        tmp_path,
        extra='quota = { high = "40KiB", low = "24KiB" }',
        files={f"temp/{number}": 6 - number * 0.5 for number in range(5)},
    )
    assert told.clean()["files_removed"] == 0
    (notice,) = told.heard()
    assert [(one["path"], one["reason"]) for one in notice["actions"]] == [("temp/0", "quota"), ("temp/1", "quota")]
    told.now += 3 * DAY + 60
    done = told.clean()
    assert done["files_removed"] == 2
    assert sorted(os.listdir(told.root / "temp")) == ["2", "3", "4"]


def test_a_child_goes_once_all_of_it_was_named(tmp_path: Path) -> None:
    """Every file of a child is named; one that comes later, however old, keeps the whole child until it is named."""
    told = store(tmp_path, extra='unit = "child"', files={"temp/job/a": 30, "temp/job/deep/b": 20, "temp/new/c": 1})
    assert told.clean()["notices"]["files"] == 2
    (notice,) = told.heard()
    assert {one["path"] for one in notice["actions"]} == {"temp/job/a", "temp/job/deep/b"}
    told.now += 3 * DAY + 60
    write(told.root, "temp/job/late", 25)
    assert told.kept() == {"no_notice": 3}
    assert told.clean()["notices"]["files"] == 1
    told.now += 3 * DAY + 60
    assert told.clean()["files_removed"] == 3
    assert os.listdir(told.root / "temp") == ["new"]


def test_in_report_mode_nobody_is_told(tmp_path: Path) -> None:
    """Nothing would go, so nothing is announced; the time begins with `enforce`."""
    told = store(tmp_path, files={"temp/a": 30})
    policy = told.root / "indexer.toml"
    policy.write_text(policy.read_text().replace("enforce", "report"))
    told.reload()
    assert told.clean()["notices"] is None
    assert told.heard() == []


def test_explain_and_views_show_the_notice(tmp_path: Path) -> None:
    """Whoever asks sees whether a notice is out, and from when on the file may go."""
    told = store(tmp_path, files={"temp/a": 30})
    told.manager.scan()
    found = told.manager.explain("temp/a")
    assert (found["blockers"], found["notice"]["published"]) == (["no_notice"], None)
    assert found["goes_at"] == int(told.now) + 3 * DAY
    told.clean()
    at = int(told.now)
    told.now += DAY
    found = told.manager.explain("temp/a")
    assert (found["blockers"], found["notice"]["published"], found["goes_at"]) == (
        ["notice_period"],
        at,
        at + 3 * DAY,
    )
    rows = told.manager.sql("SELECT path, class, published, goes_at, reason FROM notices")["rows"]
    assert rows == [["temp/a", "temp", at, at + 3 * DAY, "expired"]]
    told.manager.export(tmp_path / "copy.db")
    import sqlite3

    with sqlite3.connect(tmp_path / "copy.db") as copy:
        due = "SELECT e.path, n.published FROM expired e LEFT JOIN notices n ON n.path = e.path"
        assert copy.execute(due).fetchall() == [("temp/a", at)]
    copy.close()


def test_a_forecast_counts_notices_that_will_be_out_by_then(tmp_path: Path) -> None:
    """`plan --at` tells what will go then, not that nobody has been told yet."""
    told = store(tmp_path, files={"temp/a": 30})
    told.manager.scan()
    assert told.manager.plan(at=int(told.now) + 2 * DAY)["kept"] == {"notice_period": 1}
    assert len(told.manager.plan(at=int(told.now) + 3 * DAY)["actions"]) == 1


def test_looking_costs_what_is_due(tmp_path: Path) -> None:
    """The statement that finds what will be due reads the clock index from its start, and no other row."""
    told = store(tmp_path)
    told.manager.scan()
    with Reader.open(told.manager.store.index_path) as reader:
        seen: list[str] = []
        reader.connection.set_trace_callback(seen.append)
        list(reader.due("temp", int(told.now)))
        reader.connection.set_trace_callback(None)
        statement = next(text for text in seen if "CROSS JOIN file" in text)
        steps = [row[3] for row in reader.connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any("SEARCH file USING" in step and "clock>? AND clock<?" in step for step in steps), steps


def test_a_service_publishes_by_itself(tmp_path: Path) -> None:
    """Beside the writer, without a run; a run beside a service leaves it to it."""
    told = store(tmp_path, files={"temp/a": 30})
    told.manager.scan()
    noticer = Noticer(told.manager.store, clock=lambda: told.now)
    assert noticer.look().files == 1
    assert [one["event"] for one in told.heard()] == ["expiring"]
    assert noticer.look().files == 0


def test_the_command_line_tells_and_tests(tmp_path: Path, program: Program) -> None:
    """`cleanup` says that it named files, `notify` whether the command hears, `config check` that it is missing."""
    told = store(tmp_path, files={"temp/a": 30})
    assert "Notice published of 1 file" in program.run("cleanup", "-y", told.root).stdout
    assert program.json("notify", told.root)["sent"]["event"] == "test"
    assert [one["event"] for one in told.heard()] == ["expiring", "test"]
    (tmp_path / "broken").touch()
    assert program.json("notify", told.root, exits=1)["failed"].endswith("exit 3: no mail server")
    policy = told.root / "indexer.toml"
    policy.write_text(policy.read_text().split("[notify]")[0])
    (warning,) = program.json("config", "check", policy)["warnings"]
    assert "warn_before without [notify]" in warning
