"""The commands that plan, remove, bring back and tell, from outside, on a real store."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from indexer.cli.main import run
from indexer.units import text_of
from tests.program import REPOSITORY
from tests.trees import walk

DAY = 86_400
CONFIG = """
[store]
mode = "{mode}"
[guards]
max_fraction = 0.9
min_files = 2
[[class]]
name = "uploads"
match = ["uploads/**"]
exclude = ["**/.keep"]
ttl = "7d"
arrival_floor = false
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1d"
arrival_floor = false
action = "delete"
"""
AGES = {
    b"uploads/old.mov": 9,
    b"uploads/a\nb\xff": 8,
    b"uploads/.keep": 90,
    b"uploads/new.mov": 1,
    b"temp/x": 2,
    b"other": 99,
}
EXPIRED = {b"uploads/old.mov", b"uploads/a\nb\xff", b"temp/x"}


class Cli:
    """The command line in this process, on one store."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *args: str, exits: int = 0) -> tuple[str, str]:
        """Run one command; return (stdout, stderr)."""
        code = run(["-C", str(self.root), *args])
        done = self._capsys.readouterr()
        assert code == exits, done
        return done.out, done.err

    def json(self, *args: str, exits: int = 0) -> Any:
        """Run one command with --json and return its document."""
        return json.loads(self(*args, "--json", exits=exits)[0])


@pytest.fixture
def store(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A store that removes, scanned, with files of known ages."""
    monkeypatch.delenv("INDEXER_STORE", raising=False)
    return made(tmp_path, capsys, "enforce")


def made(root: Path, capsys: pytest.CaptureFixture[str], mode: str) -> Cli:
    """Make a store in `mode`."""
    root.chmod(0o755)
    now = time.time()
    for path, age in AGES.items():
        place = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(b"x" * 5000)
        os.utime(place, (now - age * DAY, now - age * DAY))
    (root / "indexer.toml").write_text(CONFIG.format(mode=mode))
    (root / "indexer.toml").chmod(0o644)
    cli = Cli(root, capsys)
    cli("init")
    cli("scan")
    return cli


def names(root: Path) -> set[bytes]:
    """Return the files of the store itself."""
    return {path for path, seen in walk(root).items() if path in AGES}


DUE = [text_of(b"uploads/old.mov"), text_of(b"uploads/a\nb\xff"), "temp/x"]


def test_a_plan_names_what_is_due_and_touches_nothing(store: Cli) -> None:
    """As a document, as lines, and as a table whose names cannot break it."""
    document = store.json("plan")
    assert [action["path"] for action in document["actions"]] == DUE
    assert document["totals"]["classes"]["temp"]["files"] == 1
    assert (document["refused"], document["truncated"]) == (None, False)
    assert [json.loads(line)["path"] for line in store("plan", "--jsonl")[0].splitlines()] == DUE
    out, _ = store("plan")
    assert "uploads/a\\nb\\xff" in out
    assert "3 files" in out
    assert names(store.root) == set(AGES)


def test_a_forecast_and_a_narrowed_plan(store: Cli) -> None:
    """`--at` plans for another moment, `--class` and `--under` for a part."""
    assert "uploads/new.mov" in [action["path"] for action in store.json("plan", "--at", "+8d")["actions"]]
    assert [action["path"] for action in store.json("plan", "--class", "temp")["actions"]] == ["temp/x"]
    assert [action["path"] for action in store.json("plan", "--under", "temp")["actions"]] == ["temp/x"]
    assert "no class" in store.json("plan", "--class", "tmp", exits=2)["error"]["message"]


def test_a_dry_run_is_the_run(store: Cli) -> None:
    """It says what the run then does: the same files, the same bytes to the trash."""
    dry = store.json("expire", "-n")
    assert names(store.root) == set(AGES)
    real = store.json("expire", "-y")
    same = ("files_removed", "bytes_trashed", "bytes_freed", "kept", "classes", "truncated", "refused")
    assert {key: dry[key] for key in same} == {key: real[key] for key in same}
    assert (real["files_removed"], real["bytes_trashed"], real["bytes_freed"]) == (3, 16_384, 8192)
    assert names(store.root) == {b"uploads/.keep", b"uploads/new.mov", b"other"}


def test_without_a_terminal_removing_needs_a_word(store: Cli) -> None:
    """Neither -y nor -n: nothing is done, and it says which to add."""
    error = store.json("expire", exits=2)["error"]
    assert "-y" in error["remedy"]
    assert names(store.root) == set(AGES)


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 3, set(AGES)), ("y", 0, set(AGES) - EXPIRED)])
def test_on_a_terminal_it_shows_what_would_go_and_asks(store: Cli, answer: str, code: int, left: set[bytes]) -> None:
    """The figures first, then the question; "no" is exit 3 and nothing is gone."""
    ended, said = on_a_terminal("-C", str(store.root), "expire", answer=answer)
    assert (ended, names(store.root)) == (code, left)
    assert b"3 files, 24.0 KiB on disk would go" in said
    assert said.index(b"would go") < said.index(b"Remove what is due in")


@pytest.mark.parametrize("command", ["expire", "cleanup"])
def test_on_a_terminal_it_does_not_ask_when_nothing_is_due(store: Cli, command: str) -> None:
    """It says so, and that is all."""
    store("expire", "-y")
    ended, said = on_a_terminal("-C", str(store.root), command, answer="n")
    assert (ended, names(store.root)) == (0, set(AGES) - EXPIRED)
    assert b"Nothing is due." in said
    assert b"Remove what is due" not in said


def on_a_terminal(*words: str, answer: str) -> tuple[int, bytes]:
    """Run the command line on a terminal where `answer` is typed; return (exit code, what it said)."""
    terminal, inner = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "indexer", *words]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment) as process:
        os.close(inner)
        os.write(terminal, f"{answer}\n".encode())
        said = b""
        while (part := read(terminal)) != b"":
            said += part
    os.close(terminal)
    return process.returncode, said


def read(terminal: int) -> bytes:
    """Read what is there; a terminal whose other end is closed answers EIO."""
    try:
        return os.read(terminal, 65_536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def test_report_mode_refuses_and_removes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With or without -y: exit 3, `refused` says mode, the files stay."""
    monkeypatch.delenv("INDEXER_STORE", raising=False)
    store = made(tmp_path, capsys, "report")
    for command in (["expire"], ["expire", "-y"], ["cleanup", "-y"]):
        assert store.json(*command, exits=3)["refused"] == "mode"
    assert names(store.root) == set(AGES)
    assert store.json("plan")["totals"]["files"] == 3


def test_a_guard_refuses_the_run(store: Cli) -> None:
    """Too large a share: exit 3, the guard named, the remedy said, nothing gone; -n says so as well."""
    text = (store.root / "indexer.toml").read_text().replace("0.9", "0.3")
    (store.root / "indexer.toml").write_text(text)
    for command in (["expire", "-y"], ["expire", "-n"]):
        document = store.json(*command, exits=3)
        assert document["refused"] == "max_fraction"
    assert names(store.root) == set(AGES)
    assert "max_fraction" in store("expire", "-y", exits=3)[1]


def test_a_limit_takes_the_oldest(store: Cli) -> None:
    """The rest is for the next run."""
    result = store.json("expire", "-y", "--limit", "1")
    assert (result["files_removed"], result["truncated"], result["kept"]) == (1, True, {"postponed": 2})
    assert b"uploads/old.mov" not in names(store.root)


def test_restore_brings_back_what_was_there(store: Cli) -> None:
    """By run and by path; what is not in the trash is named, with exit 1."""
    before = walk(store.root / "uploads")
    number = store.json("cleanup", "-y")["run"]
    assert {item["path"] for item in store.json("trash", "list")["items"]} == set(DUE[:2])
    assert store.json("trash", "list", "--older-than", "1h") == {"files": 0, "bytes": 0, "items": []}
    out, _ = store("restore", "--run", str(number), "-n")
    assert "uploads/a\\nb\\xff\n" in out
    (store.root / "uploads/old.mov").write_bytes(b"another")
    dry = store.json("restore", "uploads/old.mov", "-n")
    assert (dry["dry_run"], dry["run"], dry["restored"]) == (
        True, None, [{"path": "uploads/old.mov", "to": "uploads/old.mov.restored-1", "beside": True}])  # fmt: skip
    (store.root / "uploads/old.mov").unlink()
    elsewhere = store.json("restore", "uploads/old.mov", "--to", str(store.root.parent / "new"), "-n")["restored"]
    assert [(one["to"], one["beside"]) for one in elsewhere] == [("uploads/old.mov", False)]
    assert not (store.root.parent / "new").exists()
    restored = store.json("restore", "uploads/old.mov", "-y")
    assert restored["restored"][0]["path"] == "uploads/old.mov"
    assert store.json("restore", "temp/x", "-y", exits=1)["errors"][0]["path"] == "temp/x"
    store("restore", "--run", str(number), "-y")
    after = walk(store.root / "uploads")
    assert {path: (seen.size, seen.mtime) for path, seen in before.items()} == {
        path: (seen.size, seen.mtime) for path, seen in after.items()
    }


def test_the_trash_is_emptied_for_ever(store: Cli) -> None:
    """Only when asked to, and only what is old enough."""
    store("expire", "-y")
    assert store.json("trash", "empty", "--older-than", "1h", "-y")["files_removed"] == 0
    assert store.json("trash", "empty", "-n")["files_removed"] == 2
    assert store.json("trash", "list")["files"] == 2
    assert store.json("trash", "empty", "-y")["bytes_freed"] == 16_384
    assert store.json("trash", "list")["files"] == 0


def test_explain_of_what_is_there_and_what_is_gone(store: Cli) -> None:
    """Class, date and blockers; then when, why and by which run; a path nobody knows is exit 1."""
    found = store.json("explain", "uploads/new.mov")
    assert (found["class"], found["blockers"]) == ("uploads", ["not_due"])
    number = store.json("expire", "-y")["run"]
    gone = store.json("explain", "uploads/old.mov")["removed"]
    assert (gone["run"], gone["outcome"], gone["reason"], gone["rule"]["class"]) == (
        number,
        "trashed",
        "expired",
        "uploads",
    )
    assert gone["restorable_until"] > time.time()
    assert "never" in store("explain", "never", exits=1)[0]
    assert [one["path"] for one in store.json("explain", "other", "uploads")] == ["other", "uploads"]


def test_reports_and_sql(store: Cli) -> None:
    """Rows as a document, as comma-separated values, as a table."""
    rows = store.json("report", "usage")["rows"]
    assert [(row["class"], row["files"]) for row in rows] == [("uploads", 4), ("temp", 1), (None, 1)]
    assert store("report", "largest", "--top", "1", "--csv")[0].startswith("path,bytes,allocated,class,uid,mtime")
    assert {row["path"] for row in store.json("report", "expiring", "--within", "1s")["rows"]} == set(DUE)
    assert store.json("report", "expiring", "--within", "7", exits=2)["error"]["code"] == "usage"
    assert "uploads" in store("report", "usage")[0]
    found = store.json("sql", "SELECT path_bytes FROM files WHERE path_bytes IS NOT NULL")
    assert found == {"columns": ["path_bytes"], "rows": [[b"uploads/a\nb\xff".hex()]], "truncated": False}
    out, err = store("sql", "SELECT name FROM files ORDER BY 1", "--max-rows", "1")
    assert (out, "only the first 1 row:" in err) == ("name\n.keep\n", True)
    assert store("sql", "SELECT 1 AS a, NULL AS b", "--csv")[0] == "a,b\n1,\n"
    assert store.json("sql", "SELECT 1e999 AS a")["rows"] == [[None]]
    assert "not allowed" in store.json("sql", "DELETE FROM file", exits=2)["error"]["message"]


def test_restored_files_are_in_the_index_again_without_any_service(store: Cli) -> None:
    """What came back is seen by the next report, though nobody watches."""
    store("expire", "-y")
    before = json.loads(store("sql", "SELECT count(*) FROM files", "--json")[0])["rows"]
    store("restore", "--run", "1", "-y")
    after = json.loads(store("sql", "SELECT count(*) FROM files", "--json")[0])["rows"]
    assert after[0][0] == before[0][0] + len(EXPIRED) - 1  # temp/x was deleted


def test_restore_makes_the_directory_it_is_to_restore_to(store: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`--to DIR` need not exist; what cannot be one is a usage error."""
    place = tmp_path_factory.mktemp("to")
    store("expire", "-y")
    store("restore", "--run", "1", "-y", "--to", str(place / "new" / "place"))
    assert (place / "new" / "place" / "uploads" / "old.mov").exists()
    (place / "file").write_text("in the way")
    _, complaint = store("restore", "--run", "1", "-y", "--to", str(place / "file"), exits=2)
    assert "file" in complaint
