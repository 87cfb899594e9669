"""A running service keeps its watermarks by itself, whoever fills the filesystem."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.service.room_watch import COOL, FRUITLESS, LOOK, RoomWatch
from indexer.store import open_store
from tests.program import Program
from tests.service.test_watermarks import MIB, configure, fill, left, share, write
from tests.waiting import until


@pytest.fixture
def root(mount: Callable[..., Path]) -> Path:
    """Return a store on a filesystem of its own, with old and young temporary files."""
    root = mount("tmpfs", size=16, options="") / "store"
    root.mkdir()
    configure(root)
    write(root, "outputs/final", MIB, 400)
    for number in range(6):
        write(root, f"temp/{number}", MIB, 20 - number)
    return root


def test_a_neighbour_fills_the_disk_and_the_service_makes_room(root: Path, program: Program) -> None:
    """Nobody runs anything, nothing is scheduled, and no event tells of it: the oldest go, down to the low mark."""
    with program.watch(root) as service:
        service.settle()
        neighbour = root.parent / "database"
        neighbour.write_bytes(b"x" * 6 * MIB)
        assert share(root) > 0.8
        until(lambda: share(root) <= 0.65, "room", patience=30)
        neighbour.unlink()
        until(lambda: program.json("report", "runs", root)["rows"], "the run in the ledger")
        (run,) = program.json("report", "runs", root)["rows"]
    assert (run["kind"], run["trigger"]) == ("watermark", "watermark")
    assert left(root, "outputs") == ["final"]
    assert left(root, "temp") == [str(number) for number in range(run["files_removed"], 6)]


def test_a_full_disk_under_a_service_is_relieved(root: Path, program: Program) -> None:
    """Not a byte is left for the service's own index: it is degraded, makes room, and is clean again."""
    with program.watch(root) as service:
        service.settle()
        fill(root / "uploads-in-progress")
        until(lambda: share(root) <= 0.8, "room", patience=90)
        (root / "uploads-in-progress").unlink()
        until(lambda: service.status()["state"] == "clean", "clean", patience=90)
        assert program.differences(root) == {}


def test_between_the_marks_and_while_it_cools_nothing_begins(root: Path, program: Program) -> None:
    """Hysteresis: 0.7 is above the low mark of 0.6 and no reason to begin; after a run there is a rest."""
    program.run("scan", root)
    now = [1000.0]
    watch = RoomWatch(open_store(root), monotonic=lambda: now[0])
    filler = root.parent / "filler"
    filler.write_bytes(b"x" * 4 * MIB)
    assert 0.6 < share(root) < 0.8
    assert watch.look() is None
    filler.write_bytes(b"x" * 7 * MIB)
    done = watch.look()
    assert done is not None
    assert (done.files_removed > 0, [mark["stopped"] for mark in done.watermarks]) == (True, [""])
    write(root, "temp/again", 4 * MIB, 30)
    filler.write_bytes(b"x" * 8 * MIB)
    program.run("scan", root)
    now[0] += COOL - 1
    assert watch.look() is None
    now[0] += 1
    assert watch.look() is not None


def test_a_low_mark_that_cannot_be_reached_is_left_alone_for_longer(root: Path, program: Program) -> None:
    """All that may go has gone: to look again at once would find the same."""
    program.run("scan", root)
    now = [1000.0]
    watch = RoomWatch(open_store(root), monotonic=lambda: now[0])
    filler = root.parent / "filler"
    filler.write_bytes(b"x" * 7 * MIB)
    program.run("hold", root / "temp", "--reason", "wanted")
    done = watch.look()
    assert done is not None
    assert [mark["stopped"] for mark in done.watermarks] == ["exhausted"]
    assert len(left(root, "temp")) == 6
    now[0] += FRUITLESS - LOOK
    assert watch.look() is None
    now[0] += LOOK
    assert watch.look() is not None


def test_report_mode_only_watches(root: Path, program: Program) -> None:
    """`mode = "report"` removes nothing, however full."""
    config = root / "indexer.toml"
    config.write_text(config.read_text().replace('mode = "enforce"', 'mode = "report"'))
    program.run("scan", root)
    (root.parent / "filler").write_bytes(b"x" * 8 * MIB)
    assert share(root) > 0.8
    assert RoomWatch(open_store(root)).look() is None


def test_a_declared_capacity_is_kept_as_well(root: Path, program: Program) -> None:
    """The filesystem has room; what the store was given is used up."""
    config = root / "indexer.toml"
    config.write_text(config.read_text().replace("order =", 'capacity = "8MiB"\norder ='))
    program.run("scan", root)
    assert share(root) < 0.8
    done = RoomWatch(open_store(root)).look()
    assert done is not None
    assert done.files_removed == 3
