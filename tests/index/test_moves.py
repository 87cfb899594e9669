"""Directories that move: one row each, their files hang on it, and nothing is dropped that somebody claims."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from indexer.events import ROOT_ID, Barrier, Batch, Rescan
from indexer.index.backlog import Listing
from indexer.index.queries import Reader
from tests.index.rig import Place, Rig
from tests.trees import Node, make

MANY: dict[str, Node] = {
    "old": {"job": {f"{number}.jpg": b"x" * number for number in range(200)}, "other": {"f": b"1"}}
}


def ids(rig: Rig, *places: str) -> list[int]:
    """Return the ids of directories."""
    return [rig.directory(place) for place in places]


def exchange(one: Path, other: Path) -> None:
    """Swap two names at once (renameat2, RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def test_a_directory_s_rename_is_one_row(tmp_path: Path) -> None:
    """With 201 files below it, a rename writes the directory's row and nothing else but notes of the batch."""
    with Rig(tmp_path, MANY) as rig:
        before = ids(rig, "old", "old/job", "old/other")
        (rig.root / "old").rename(rig.root / "new")
        changes = rig.changes([rig.batch("old", "new"), Batch(rig.now)])
        assert changes <= 4  # detached, attached, last_event, proved times of the root
        assert ids(rig, "new", "new/job", "new/other") == before
        assert rig.wrong() == {}


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")], ids=["away first", "there first"])
@pytest.mark.parametrize("split", [False, True], ids=["one batch", "two batches"])
@pytest.mark.parametrize("drained", [False, True])
def test_a_rename_in_any_order_keeps_the_directory(
    tmp_path: Path, order: tuple[str, str], split: bool, drained: bool
) -> None:
    """Both sides may come in either order, and a batch apart."""
    with Rig(tmp_path, MANY) as rig:
        before = ids(rig, "old", "old/job")
        (rig.root / "old").rename(rig.root / "new")
        for part in [[order[0]], [order[1]]] if split else [order]:
            rig.apply(*part, drained=drained)
        rig.settle()
        assert ids(rig, "new", "new/job") == before
        assert rig.wrong() == {}


def test_two_directories_exchange_places(tmp_path: Path) -> None:
    """Siblings, and directories at different depths: each keeps its row and its files."""
    with Rig(tmp_path, {"a": {"f": b"1"}, "b": {"g": b"22", "deep": {"c": {"h": b"333"}}}}) as rig:
        before = ids(rig, "a", "b", "b/deep/c")
        exchange(rig.root / "a", rig.root / "b")
        rig.changed("a", "b")
        assert ids(rig, "b", "a", "a/deep/c") == before
        assert rig.wrong() == {}
        exchange(rig.root / "b", rig.root / "a" / "deep" / "c")
        rig.changed("a/deep/c", "b")
        assert ids(rig, "a/deep/c", "a", "b") == before
        assert rig.wrong() == {}


def test_a_cycle_of_renames(tmp_path: Path) -> None:
    """Each of three takes the place of the next; hints in every direction."""
    with Rig(tmp_path, {name: {name: name.encode() * 9} for name in "abc"}) as rig:
        before = ids(rig, "a", "b", "c")
        for order in ("abc", "cba", "bac"):
            (rig.root / "a").rename(rig.root / "spare")
            for source, target in (("c", "a"), ("b", "c"), ("spare", "b")):
                (rig.root / source).rename(rig.root / target)
            rig.changed(*order)
            assert rig.wrong() == {}
        assert ids(rig, "a", "b", "c") == before  # three times round


def test_a_directory_moves_into_its_former_child(tmp_path: Path) -> None:
    """x/y becomes y/x: for a moment the index may see each below the other, and must not lose either."""
    tree: dict[str, Node] = {"x": {"f": b"1", "y": {"g": b"22"}}}
    for number, order in enumerate((("", "x", "y"), ("y", "x", ""))):
        (tmp_path / str(number)).mkdir()
        with Rig(tmp_path / str(number), tree) as rig:
            before = ids(rig, "x", "x/y")
            keys = {"x": rig.key("x"), "y": rig.key("x/y"), "": rig.key("")}
            (rig.root / "x" / "y").rename(rig.root / "y")
            (rig.root / "x").rename(rig.root / "y" / "x")
            names: dict[str, list[Place | tuple[bytes, Place]]] = {
                "": [(keys[""], "x"), (keys[""], "y")],
                "x": [(keys["x"], "y")],
                "y": [(keys["y"], "x")],
            }
            rig.changed(*(hint for place in order for hint in names[place]))
            assert ids(rig, "y/x", "y") == before
            assert rig.wrong() == {}


@pytest.mark.parametrize("split", [False, True], ids=["one batch", "two batches"])
def test_out_of_the_tree_and_back(tmp_path: Path, split: bool) -> None:
    """Away and back under another name within one or two batches: the same rows."""
    with Rig(tmp_path, MANY) as rig:
        before = ids(rig, "old", "old/job")
        (rig.root / "old").rename(tmp_path / "away")
        if split:
            rig.apply("old")
        (tmp_path / "away").rename(rig.root / "back")
        rig.changed("old", "back")
        assert ids(rig, "back", "back/job") == before
        assert rig.wrong() == {}


def test_what_nobody_claims_is_dropped_with_all_below(tmp_path: Path) -> None:
    """Directories, files and counters go, the watcher is told of each, and a later return is a new arrival."""
    with Rig(tmp_path, MANY) as rig:
        gone = ids(rig, "old", "old/job", "old/other")
        (rig.root / "old").rename(tmp_path / "away")
        rig.changed("old")
        assert rig.wrong() == {}
        assert [rig.value(f"SELECT count(*) FROM {table}") for table in ("directory", "file", "usage")] == [1, 0, 0]
        assert sorted(each for call, each in rig.watcher.calls if call == "forget") == gone
        (tmp_path / "away").rename(rig.root / "old")
        rig.changed("old")
        assert rig.directory("old") not in gone
        assert rig.wrong() == {}


def test_limbo_lasts_until_the_kernel_s_queue_is_empty(tmp_path: Path) -> None:
    """While more events are queued, nobody knows that a vanished directory has left the tree."""
    with Rig(tmp_path, MANY) as rig:
        before = ids(rig, "old")
        (rig.root / "old").rename(rig.root / "new")
        rig.apply("old", drained=False)
        for _ in range(20):
            rig.apply(drained=False)
        assert not rig.index.settled
        rig.changed("new")
        assert ids(rig, "new") == before


def test_a_barrier_does_not_hurry_limbo(tmp_path: Path) -> None:
    """A rename raises two events; a barrier that comes between them must not cost the directory its row."""
    with Rig(tmp_path, MANY) as rig:
        before = ids(rig, "old", "old/job")
        (rig.root / "old").rename(rig.root / "new")
        batch = rig.batch("old")
        batch.barriers.append(Barrier())
        rig.index.apply(batch)
        assert not rig.index.settled
        rig.changed("new")
        assert ids(rig, "new", "new/job") == before


def test_limbo_does_not_wait_for_mere_verification(tmp_path: Path) -> None:
    """A verifying pass may take hours; what left the tree meanwhile leaves the counters at once."""
    with Rig(tmp_path, MANY) as rig:
        (rig.root / "old").rename(tmp_path / "away")
        rig.index.backlog.push(Listing(ROOT_ID, tree=True, reason="verify"), verify=True)
        rig.apply("old")
        rig.apply()
        assert rig.index.backlog
        assert rig.value("SELECT count(*) FROM file") == 0


def test_limbo_waits_for_directories_that_may_hold_the_lost_one(tmp_path: Path) -> None:
    """It was moved into a directory that is itself new and still to be listed."""
    with Rig(tmp_path, MANY) as rig:
        before = ids(rig, "old", "old/job")
        (rig.root / "new").mkdir()
        (rig.root / "old").rename(rig.root / "new" / "inner")
        rig.apply("old", "new")
        rig.apply()
        rig.apply()
        rig.settle()
        assert ids(rig, "new/inner", "new/inner/job") == before
        assert rig.wrong() == {}


def test_a_new_directory_that_moves_before_it_is_listed(tmp_path: Path) -> None:
    """Its listing strands while it is in limbo, whoever claims it lists it, and then the stranded one comes back."""
    with Rig(tmp_path, {"old": {}, "other": {}}) as rig:
        make(rig.root, {"old": {"fresh": {"f": b"1"}}})
        rig.apply("old/fresh")
        (rig.root / "old" / "fresh").rename(rig.root / "new")
        (rig.root / "other").rmdir()  # stays in limbo until the queue is empty
        rig.apply("old/fresh", "other", drained=False)
        rig.index.apply(Batch(rig.now, drained=False))
        rig.index.apply(rig.batch("new", drained=False))
        assert rig.paths() == {b"new/f"}
        rig.settle()
        assert rig.wrong() == {}


def test_limbo_outlives_the_process(tmp_path: Path) -> None:
    """Killed between the two sides of a rename: the next start finds the directory and all that happened in it."""
    with Rig(tmp_path, {"old": {"sub": {"f": b"1"}, "unseen": {}}}) as rig:
        before = ids(rig, "old", "old/sub")
        (rig.root / "old").rename(rig.root / "new")
        rig.apply("old")
        make(rig.root / "new", {"sub": {"g": b"22"}, "late": {"h": b"333"}})
        rig.reopen()
        rig.quick()
        assert ids(rig, "new", "new/sub") == before
        assert rig.wrong() == {}


def test_readers_see_nothing_of_a_directory_in_limbo(tmp_path: Path) -> None:
    """It has no path; asking for its files gives none and raises nothing."""
    with Rig(tmp_path, MANY) as rig:
        gone = rig.directory("old/job")
        (rig.root / "old").rename(tmp_path / "away")
        rig.apply("old", drained=False)
        with Reader.open(rig.path) as reader:
            assert reader.directory_path(gone) is None
            assert list(reader.files_in(gone)) == []


def test_another_directory_under_a_known_name_is_another_directory(tmp_path: Path) -> None:
    """Removed and made again (ext4 gives the same inode number): new row, no inherited files."""
    with Rig(tmp_path, {"d": {"f": b"1"}}) as rig:
        before = ids(rig, "d")
        (rig.root / "d" / "f").unlink()
        (rig.root / "d").rmdir()
        make(rig.root, {"d": {"g": b"22"}})
        rig.changed("d")
        assert ids(rig, "d") != before
        assert rig.wrong() == {}


def test_deep_surgery(tmp_path: Path) -> None:
    """Every directory of a chain becomes the parent of the one above it, in one batch."""
    depth = 8
    names = [f"d{number}" for number in range(depth)]
    tree: dict[str, Node] = {}
    for name in reversed(names):
        tree = {name: {"file": name.encode(), **tree}}
    with Rig(tmp_path, tree) as rig:
        places = ["/".join(names[: number + 1]) for number in range(depth)]
        keys = [rig.key("")] + [rig.key(place) for place in places]
        for number in range(depth):  # pull each out to the root, from the deepest
            (rig.root / places[depth - 1 - number]).rename(rig.root / f"x{depth - 1 - number}")
        place = rig.root
        hints: list[Place | tuple[bytes, Place]] = []
        for number in reversed(range(depth)):
            (rig.root / f"x{number}").rename(place / names[number])
            place = place / names[number]
        for key in keys:
            hints += [(key, name) for name in (*names, *(f"x{number}" for number in range(depth)))]
        rig.changed(*hints)
        assert rig.wrong() == {}


def test_what_moves_behind_a_pass_is_verified_all_the_same(tmp_path: Path) -> None:
    """From where the pass has yet to come to where it has been: nothing would list it, and it was changed unseen."""
    with Rig(tmp_path, {"a": {"moving": {"f": b"1", "deep": {"g": b"1"}}}, "b": {"h": b"1"}}) as rig:
        rig.now += 10
        rig.turn()
        for name in ("f", "deep/g"):
            (rig.root / "a" / "moving" / name).write_bytes(b"written while nobody listened")
        rig.begin_verify()
        while rig.directory("b") in rig.index.backlog.waiting:
            rig.turn(1)
        assert rig.directory("a") in rig.index.backlog.waiting
        old = rig.key("a")
        (rig.root / "a" / "moving").rename(rig.root / "b" / "moving")
        rig.apply((old, "moving"), "b/moving")
        rig.settle()
        assert rig.wrong() == {}


@pytest.mark.parametrize("handles", [True, False], ids=["by handle", "by path"])
def test_a_quick_pass_looks_into_what_was_renamed_meanwhile(tmp_path: Path, handles: bool) -> None:
    """Names made in a directory, and in one below it, before it was renamed while nobody listened."""
    with Rig(tmp_path, {"old": {"f": b"1", "deep": {"g": b"1"}}}) as rig:
        rig.prove()
        rig.now += 10
        rig.turn()
        for name in ("new", "deep/new"):
            (rig.root / "old" / name).write_bytes(b"1")
        (rig.root / "old").rename(rig.root / "other")
        rig.forbid_handles(not handles)
        rig.index.doubt_everything()
        rig.quick()
        assert rig.wrong() == {}


def test_a_ring_of_directories_is_broken_by_what_waits_behind_it(tmp_path: Path) -> None:
    """x/y becomes y/x unseen; y is listed first, so that each lies in the other until the root's turn comes."""
    with Rig(tmp_path, {"x": {"f": b"1", "y": {"g": b"22"}}}) as rig:
        x, y = ids(rig, "x", "x/y")
        (rig.root / "x" / "y").rename(rig.root / "y")
        (rig.root / "x").rename(rig.root / "y" / "x")
        for directory in (ROOT_ID, x, y):
            rig.index.request_rescan(Rescan(directory, tree=False, reason="changed"))
        for _ in range(50):  # one listing each: more in a transaction, and the ring would need more directories
            rig.turn(1)
        assert rig.index.settled
        assert ids(rig, "y/x", "y") == [x, y]
        assert rig.wrong() == {}


@pytest.mark.parametrize("there", [True, False], ids=["in the tree", "left the tree"])
@pytest.mark.parametrize("by", ["hint", "listing"])
def test_a_ring_that_nothing_breaks_is_looked_for_and_then_dropped(tmp_path: Path, there: bool, by: str) -> None:
    """Two directories lie in each other, for the index, and no event is left that could tell where they are."""
    with Rig(tmp_path, {"x": {"f": b"1", "y": {"g": b"22"}}, "other": {"h": b"1"}}) as rig:
        x, y = ids(rig, "x", "x/y")
        key = rig.key("x")
        if not there:
            (rig.root / "x").rename(tmp_path / "away")
        rig.execute("UPDATE directory SET parent_id = ?, name = 'x' WHERE id = ?", y, x)
        rig.reopen()
        if by == "hint":
            rig.apply((key, "f"))
        else:
            rig.index.request_rescan(Rescan(x, tree=False, reason="changed"))
        rig.settle()
        assert rig.wrong() == {}
        if there:
            assert ids(rig, "x", "x/y") == [x, y]
