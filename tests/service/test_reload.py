"""A running service picks a changed configuration up, and keeps the old one when the edit is bad."""

from __future__ import annotations

from pathlib import Path

from indexer.service.client import request
from indexer.service.reload import Reload
from indexer.store import Store, initialise_store, open_store
from tests.program import PATIENCE, Program
from tests.service.scheduled import scheduled

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


def test_beside_a_service_a_bad_edit_takes_nothing_away(program: Program, tmp_path: Path) -> None:
    """What decides about no file goes by what is in force, and says so; what does, and all without it, exits 2."""
    store = scheduled(tmp_path / "store", 'cleanup = "0 0 29 2 *"')
    root = store.root
    run = program.json("cleanup", root, "-y")["run"]
    assert store.config.path is not None
    with program.watch(root) as service:
        service.settle()
        with store.config.path.open("a", encoding="utf-8") as file:
            file.write("nonsense = 1\n")
        assert program.json("settle", root)["seconds"] < PATIENCE
        status = program.json("status", root, exits=1)
        assert (status["state"], status["reasons"], status["mode"]) == ("degraded", ["policy_error"], "enforce")
        said = program.run("metrics", root)
        assert 'indexer_degraded{reason="policy_error"} 1.0' in said.stdout
        assert "1 problem: schedule.nonsense unknown key; the service goes by what was in force before" in said.stderr
        assert program.json("trash", "list", root)["files"] == 3
        assert [row["class"] for row in program.json("report", "expiring", root)["rows"]] == []
        assert program.json("hold", root / "uploads" / "1")["holds"][0]["path"] == "uploads/1"
        assert program.json("explain", root / "uploads" / "1")["removed"]["run"] == run
        for more, there in (("-n", 0), ("-y", 3)):
            assert len(program.json("restore", "-C", root, "--run", str(run), more)["restored"]) == 3
            assert len(list((root / "uploads").iterdir())) == there
        for command in (["plan"], ["cleanup", "-y"], ["trash", "empty", "-y"]):
            assert program.json(*command, root, exits=2)["error"]["code"] == "config"
    assert program.json("status", root, exits=2)["error"]["code"] == "config"


def test_an_invalid_configuration_commands_no_other_store(program: Program, tmp_path: Path) -> None:
    """The state that it names is another tree's: the service there is not asked, and the configuration is named."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"x")
    (tmp_path / "state").mkdir(mode=0o700)
    valid, invalid = tmp_path / "theirs.toml", tmp_path / "ours.toml"
    text = f'[store]\nstate = "{tmp_path / "state"}"\n'
    valid.write_text(f'{text}path = "{tmp_path / "theirs"}"\n')
    invalid.write_text(f'{text}path = "{tmp_path / "ours"}"\nnonsense = 1\n')
    theirs: list[str | Path] = ["--config", valid, "-C", tmp_path / "theirs"]
    program.run("init", tmp_path / "theirs", "--config", valid)
    with program.watch(tmp_path / "theirs", "--config", str(valid)) as service:
        service.settle()
        for command in (["hold", str(tmp_path / "ours" / "x")], ["status"], ["restore", "--run", "1", "-y"]):
            said = program.json("--config", invalid, *command, exits=2)["error"]
            assert said["code"] == "config", said
        assert program.json(*theirs, "report", "holds")["rows"] == []
        valid.write_text(f"{valid.read_text()}nonsense = 1\n")  # its own is asked, wherever the state lies
        assert program.json(*theirs, "hold", tmp_path / "theirs" / "x")["holds"][0]["path"] == "x"
        assert "store.nonsense unknown key; the service goes by" in program.run(*theirs, "metrics").stderr
        for command in (["report", "drift"], ["restore", "--run", "1", "--to", str(tmp_path / "to"), "-y"]):
            assert program.json(*theirs, *command, exits=2)["error"]["code"] == "config"


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

        opened = open_store(tmp_path)
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
