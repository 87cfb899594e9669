"""A running service picks a changed configuration up, and keeps the old one when the edit is bad."""

from __future__ import annotations

from pathlib import Path

from indexer.service.client import request
from indexer.service.reload import Reload
from indexer.store import Store, initialise_store, open_store
from tests.program import PATIENCE, Program

POLICY = """
[[class]]
name = "NAME"
match = ["work/**"]
ttl = "7d"
clock = ["CLOCK"]
"""


def configure(root: Path, name: str, clock: str = "mtime", more: str = "") -> None:
    """Write a policy as editors do: beside the file, then over it."""
    (root / "new.toml").write_text(more + POLICY.replace("NAME", name).replace("CLOCK", clock))
    (root / "new.toml").replace(root / "indexer.toml")


def classes(program: Program, root: Path) -> list[tuple[str | None, int]]:
    """Return how many files each class has, by the counters."""
    rows = program.json("report", "usage", root)["rows"]
    return [(row["class"], row["files"]) for row in rows if row["files"]]


def test_what_waits_for_a_new_beginning_is_named(tmp_path: Path) -> None:
    """Of a changed configuration: each section that is no policy; nothing once it is as it was."""
    configure(tmp_path, "first")
    reload = Reload(initialise_store(tmp_path))
    found: list[list[str]] = []
    for more in ('[schedule]\ncleanup = "@daily"\n[publish]\npath = "/srv/x.db"\nevery = "1h"\n', ""):
        configure(tmp_path, "second", more=more)
        store = reload.changed(0.0, at_once=True)
        assert isinstance(store, Store), store
        reload.adopt(store)
        found.append(reload.waiting)
    assert found == [["schedule", "publish"], []]


def test_a_changed_policy_is_in_force_after_settle(program: Program, tmp_path: Path) -> None:
    """Known files are classified anew beside the events; a bad edit degrades and changes nothing; a good one mends."""
    configure(tmp_path, "first")
    (tmp_path / "work").mkdir()
    for number in range(20):
        (tmp_path / "work" / str(number)).write_bytes(b"x")
    with program.watch(tmp_path) as service:
        service.settle()
        assert classes(program, tmp_path) == [("first", 20)]

        configure(tmp_path, "second", "ctime")
        (tmp_path / "work" / "late").write_bytes(b"x")
        service.settle()
        assert classes(program, tmp_path) == [("second", 21)]
        rows = program.json("plan", tmp_path, "--at", "+9d")
        assert rows["totals"]["classes"].keys() == {"second"}

        opened = open_store(tmp_path)  # a command line of its own refuses the bad file, exit 2
        configure(tmp_path, "third", "moon")
        request(opened, "settle", PATIENCE, timeout=PATIENCE)
        status = request(opened, "status", PATIENCE)
        assert (status["state"], status["reasons"]) == ("degraded", ["policy_error"])
        assert "indexer.toml" in status["details"][0]
        (tmp_path / "work" / "later").write_bytes(b"x")
        request(opened, "settle", PATIENCE, timeout=PATIENCE)

        configure(tmp_path, "third", more='[store]\nignore = ["work/1*"]\n')
        service.settle()
        assert service.status()["state"] == "clean"
        assert classes(program, tmp_path) == [("third", 11)]
        assert program.json("sql", "SELECT count(*) FROM files WHERE name LIKE '1%'", "-C", tmp_path)["rows"] == [[0]]
