"""The whole tree: first scans that crash, quick passes that list exactly what changed, any depth, other filesystems."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index import ahead, derived, reach
from indexer.index.proofs import SETTLED_NS
from indexer.index.queries import Reader
from indexer.index.quick import MARGIN_NS
from indexer.rules import Rule
from indexer.scan import full_scan, quick_scan
from tests.capabilities import needs
from tests.index.rig import NOW, Rig
from tests.mounts import bind, unmount
from tests.program import REPOSITORY
from tests.trees import HardLink, Node, make

TREE: dict[str, Node] = {
    "a": {"b": {"f": b"1" * 5000, "g": b"22"}, "empty": {}},
    "c": {"linked": HardLink("a/b/f"), "d": {"e": {"h": b"333"}}},
    "top": b"4",
}
CLASS = Rule("c", ("c/**",), ttl=1)

# First scans


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 1000])
def test_a_first_scan_in_portions(tmp_path: Path, budget: int) -> None:
    """However it is cut, at the end all is counted and charged, and the tree is complete."""
    with Rig(tmp_path, None, [CLASS]) as rig:
        make(rig.root, TREE)
        rig.first(budget)
        while not rig.index.settled:
            assert not rig.index.complete
            rig.turn(budget)
        assert rig.index.complete
        assert not rig.index.bulk
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_events_during_a_first_scan(tmp_path: Path) -> None:
    """Creates, changes and moves between listed and unlisted directories are in it at the end."""
    with Rig(tmp_path, None, [CLASS]) as rig:
        make(rig.root, {**TREE, **{f"n{number}": {"f": b"1"} for number in range(20)}})
        rig.first(budget=2)
        for number in range(10):
            (rig.root / f"n{number}").rename(rig.root / "c" / f"m{number}")
            (rig.root / f"n{number + 10}" / "f").write_bytes(b"changed")
            (rig.root / "a" / "b" / f"new{number}").write_bytes(b"new")
            batch = rig.batch(f"n{number}", f"c/m{number}", f"n{number + 10}/f", f"a/b/new{number}")
            rig.index.apply(batch, budget=2)
        rig.settle()
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


_CRASHING = """
import os, signal, sys
from pathlib import Path
from tests.index.rig import Rig
from tests.index.test_scan import CLASS
rig = Rig(Path(sys.argv[1]), None, [CLASS], root=Path(sys.argv[2]))
rig.first(budget=2)
for _ in range(int(sys.argv[3])):
    rig.turn(budget=2)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_killed_in_the_middle_of_a_first_scan(tmp_path: Path, turns: int) -> None:
    """The next start begins again over what is there, and makes counters, charges and indexes at its end."""
    root = tmp_path / "root"
    make(root, TREE)
    command = [sys.executable, "-c", _CRASHING, str(tmp_path), str(root), str(turns)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run(command, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    shutil.rmtree(root / "a" / "b")
    make(root, {"a": {"b": {"new": b"55555"}}})
    with Rig(tmp_path, None, [CLASS]) as rig:
        assert (rig.index.complete, rig.index.bulk, rig.index.settled) == (False, True, True)
        quick_scan(rig.index, lambda: rig.now)  # which is a full one
        assert (rig.index.complete, rig.index.bulk) == (True, False)
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_counters_and_indexes_that_are_missing_are_made_again(tmp_path: Path) -> None:
    """Whatever left the index without them: the next pass over the tree makes all of them."""
    with Rig(tmp_path, TREE, [CLASS]) as rig:
        derived.drop(rig.index.connection)
        rig.execute("DELETE FROM usage")
        rig.reopen()
        assert rig.index.bulk
        cache = rig.index.connection.execute("PRAGMA cache_size").fetchone()
        full_scan(rig.index, lambda: rig.now)
        assert (rig.wrong(), rig.misclassified()) == ({}, {})
        assert rig.index.connection.execute("PRAGMA cache_size").fetchone() == cache, "lent to the sort only"


def test_a_tree_whose_root_went_away_is_not_complete(tmp_path: Path) -> None:
    """Nothing may be planned on a scan that saw nothing; and no row is dropped for it."""
    with Rig(tmp_path, None) as rig:
        make(rig.root, TREE)
        shutil.rmtree(rig.root)
        rig.index.request_rescan(Rescan(ROOT_ID, reason="first"))
        for _ in range(5):
            rig.turn()
        assert not rig.index.complete
        rig.root.mkdir()
    (tmp_path / "2").mkdir()
    with Rig(tmp_path / "2", TREE) as rig:
        rows = rig.value("SELECT count(*) FROM file")
        rig.root.rename(tmp_path / "kept")
        shutil.rmtree(tmp_path / "kept")
        rig.index.request_rescan(Rescan(ROOT_ID, reason="verify"), verify=True)
        for _ in range(5):
            rig.turn()
        assert rig.value("SELECT count(*) FROM file") == rows
        rig.root.mkdir()


# Quick passes


def test_a_quick_pass_finds_exactly_the_directories_whose_names_changed(tmp_path: Path) -> None:
    """Create, remove, rename, mkdir, rmdir, symlink; in-place writes are left to verification."""
    tree: dict[str, Node] = {f"d{number}": {"f": b"1", "sub": {"g": b"2"}} for number in range(20)}
    with Rig(tmp_path, tree) as rig:
        assert rig.quick() == set()
        (rig.root / "d0" / "new").write_bytes(b"1")
        (rig.root / "d1" / "f").unlink()
        (rig.root / "d2" / "f").rename(rig.root / "d2" / "g")
        (rig.root / "d3" / "newdir").mkdir()
        shutil.rmtree(rig.root / "d4" / "sub")
        (rig.root / "d5" / "link").symlink_to("f")
        (rig.root / "d6" / "f").rename(rig.root / "d7" / "sub" / "moved")
        (rig.root / "d8" / "f").write_bytes(b"in place")
        rig.reopen()
        assert rig.quick() == {*(b"d%d" % number for number in range(7)), b"d7/sub"}
        assert [each for each in rig.wrong() if "d8" not in each] == []
        rig.verify()
        assert rig.wrong() == {}
        assert rig.quick() == set()


@pytest.mark.parametrize("after", [0, MARGIN_NS - 1, MARGIN_NS, MARGIN_NS + 1])
def test_a_directory_that_was_listed_too_soon_is_listed_again(tmp_path: Path, after: int) -> None:
    """Listed within 10 ms of its mtime, it may have changed once more with the same mtime."""
    with Rig(tmp_path, TREE) as rig:
        rig.execute("UPDATE directory SET listed_ns = max(mtime_ns, ctime_ns) + ? WHERE name = 'd'", after)
        assert rig.quick() == (set() if after >= MARGIN_NS else {b"c/d"})
        assert rig.quick() == set()


def test_directories_that_hints_have_touched_need_not_be_listed_again(tmp_path: Path) -> None:
    """After a quiet moment their times are proved; before it they are not."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "a" / "b" / "new").write_bytes(b"1")
        rig.apply("a/b/new")
        assert rig.index.unproven
        rig.reopen()
        assert rig.quick() == {b"a/b"}
        (rig.root / "a" / "b" / "newer").write_bytes(b"1")
        rig.apply("a/b/newer")
        rig.prove()
        rig.reopen()
        assert rig.quick() == set()
        assert rig.wrong() == {}


def test_times_are_not_proved_while_a_doubt_about_their_directory_waits(tmp_path: Path) -> None:
    """Something else in it changed while nobody watched; it is read; the process dies before it is listed."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "a" / "b" / "unseen").write_bytes(b"1")
        rig.reopen()
        rig.index.request_rescan(Rescan(rig.directory("a/b"), tree=False, reason="changed"))
        for _ in range(5):
            rig.now += 1
            rig.apply("a/b/g")
            rig.now += 1
            rig.apply()
        rig.reopen()
        assert rig.quick() == {b"a/b"}
        assert rig.wrong() == {}


def test_nor_while_the_whole_tree_is_in_doubt(tmp_path: Path) -> None:
    """After an overflow any name may be missing, also in directories that the walk has not come to."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "a" / "b" / "lost").write_bytes(b"1")
        rig.index.apply(Batch(rig.now, rescans=[Rescan(ROOT_ID, reason="overflow")]), budget=0)
        for _ in range(5):
            rig.now += 1
            rig.apply("a/b/g")
            rig.now += 1
            rig.apply()
        rig.reopen()
        assert b"a/b" in rig.quick()
        assert rig.wrong() == {}


def test_nor_when_the_directory_could_not_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names still wait: after a crash the quick pass has to find them."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "a" / "b" / "one").write_bytes(b"1")
        rig.apply("a/b/one")
        rig.now += 1
        rig.apply()  # its times are taken
        (rig.root / "a" / "b" / "two").write_bytes(b"1")
        _proof_includes(rig, "a/b")

        def refuse(*_: object) -> int:
            raise reach.GoneError(b"")

        monkeypatch.setattr(reach.Reacher, "reach", refuse)
        rig.now += 1
        rig.apply("a/b/two")
        monkeypatch.undo()
        rig.reopen()
        assert b"a/b" in rig.quick()
        assert rig.wrong() == {}


def _proof_includes(rig: Rig, place: str) -> None:
    """Let the change have come in the moment before the directory's times were taken."""
    st = (rig.root / place).stat()
    waiting = rig.index._proofs._waiting
    directory_id = rig.directory(place)
    waiting[directory_id] = (st.st_mtime_ns, st.st_ctime_ns, waiting[directory_id][2])


def test_a_clock_that_was_set_back_leaves_no_proof_waiting_for_ever(tmp_path: Path) -> None:
    """Otherwise the service would wake 50 times a second until the clock has caught up."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "top").write_bytes(b"changed")
        rig.apply("top")
        rig.now += 1
        rig.apply()
        assert rig.index.unproven
        rig.now -= 1_000_000
        for _ in range(3):
            rig.apply()
            rig.now += SETTLED_NS / 1e9 * 2
        assert not rig.index.unproven


def test_what_happened_to_directories_while_nobody_watched(tmp_path: Path) -> None:
    """Moved, exchanged, replaced by another, moved out, a new one in its place."""
    tree: dict[str, Node] = {name: {"f": name.encode(), "sub": {"g": name.encode()}} for name in "abcdefgh"}
    with Rig(tmp_path, tree) as rig:
        kept = {name: rig.directory(name) for name in "abd"}
        (rig.root / "a").rename(rig.root / "b" / "a")
        (rig.root / "c").rename(tmp_path / "out")
        (rig.root / "d").rename(rig.root / "c")
        shutil.rmtree(rig.root / "e")
        make(rig.root, {"e": {"other": b"1"}})
        (rig.root / "f" / "sub" / "g").unlink()
        (rig.root / "g").rename(rig.root / "h" / "sub" / "g2")
        rig.reopen()
        rig.quick()
        assert rig.wrong() == {}
        assert {"a": rig.directory("b/a"), "b": rig.directory("b"), "d": rig.directory("c")} == kept


# Depth


@pytest.mark.parametrize("way", ["by handle", "by path", "with a walker"])
def test_a_tree_of_5000_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Far beyond PATH_MAX: scanned, hinted at the bottom, renamed at the top, verified, read back and removed."""
    depth, name = 5_000, b"level"
    if way == "with a walker":
        monkeypatch.setattr(ahead, "WORTH_A_WALKER", -1)
    with Rig(tmp_path, None) as rig:
        fd = os.open(rig.root, os.O_RDONLY)
        for level in range(depth):
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
            if level % 1000 == 0 or level == depth - 1:
                os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        rig.forbid_handles(way == "by path")
        rig.index.parallel = way == "with a walker"
        rig.first()
        rig.settle(20_000)
        assert rig.wrong() == {}
        assert rig.value("SELECT count(*) FROM directory") == depth + 1
        bottom = rig.value("SELECT max(id) FROM directory")
        os.close(os.open(b"new", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        batch = Batch(rig.now)
        batch.hint(bottom, b"new", 1)
        rig.index.apply(batch)
        os.rename(rig.root / "level", rig.root / "renamed")
        rig.changed("level", "renamed")
        with Reader.open(rig.path) as reader:
            assert (reader.directory_path(bottom) or b"").count(b"/") == depth - 1
        assert rig.wrong() == {}
        subprocess.run(["rm", "-rf", rig.root / "renamed"], check=True)
        rig.changed("renamed")
        assert rig.wrong() == {}


def test_caches_of_paths_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 levels of long names are 6 GB of paths: they must not all be remembered."""
    monkeypatch.setattr("indexer.index.paths.PATH_BYTES", 10_000)
    tree: dict[str, Node] = {}
    for _ in range(60):
        tree = {"n" * 40: tree, "f": b"1"}
    with Rig(tmp_path, tree) as rig:
        with Reader.open(rig.path) as reader:
            for (each,) in reader.connection.execute("SELECT id FROM directory").fetchall():
                reader.directory_path(each)
                assert reader._paths.size <= 10_000
        rig.verify()
        assert 0 < rig.index.directories._paths.size <= 10_000
        assert rig.wrong() == {}


# Other filesystems


@needs("CAP_SYS_ADMIN", "fs:tmpfs")
def test_mounts_are_not_entered_and_are_noted(tmp_path: Path) -> None:
    """Another filesystem, and a bind mount of the same one; when it is unmounted, what lies below is indexed."""
    with Rig(tmp_path, {"tmpfs": {"hidden": b"1"}, "bind": {"hidden": b"22"}, "elsewhere": {"f": b"333"}}) as rig:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", rig.root / "tmpfs"], check=True)
        try:
            bind(rig.root / "elsewhere", rig.root / "bind")
            (rig.root / "tmpfs" / "inside").write_bytes(b"4")
            rig.verify()
            assert rig.paths() == {b"elsewhere/f"}
            assert rig.problems() == {b"tmpfs": errno.EXDEV, b"bind": errno.EXDEV}
            assert rig.quick() == set()
        finally:
            unmount(rig.root / "bind")
            unmount(rig.root / "tmpfs")
        rig.reopen()
        rig.quick()
        assert (rig.wrong(), rig.problems()) == ({}, {})


@needs("CAP_SYS_ADMIN", "fs:tmpfs")
def test_a_filesystem_of_the_store_is_entered(mount: Callable[..., Path], tmp_path: Path) -> None:
    """With its own inode numbers, handles and links; a mount within it is another one again."""
    other = mount("tmpfs")
    root = tmp_path / "root"
    make(root, {"part": {}, "a": b"1"})
    make(other, {"b": b"22", "d": {"c": b"333", "hard": HardLink("b")}, "inner": {}})
    bind(other, root / "part")
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "part" / "inner"], check=True)
        try:
            with Rig(tmp_path, {}, filesystems=["part"]) as rig:
                assert rig.paths() == {b"a", b"part/b", b"part/d/c", b"part/d/hard"}
                assert rig.problems() == {b"part/inner": errno.EXDEV}
                (root / "part" / "d" / "c").rename(root / "part" / "c2")
                (root / "part" / "new").write_bytes(b"4444")
                rig.changed("part/d/c", "part/c2", "part/new")
                assert rig.paths() == {b"a", b"part/b", b"part/c2", b"part/d/hard", b"part/new"}
                assert rig.value("SELECT count(*) FROM directory WHERE filesystem_id = 2") == 2
                rig.prove()
                rig.reopen()
                assert rig.quick() == set()
        finally:
            unmount(root / "part" / "inner")
    finally:
        unmount(root / "part")


@needs("CAP_SYS_ADMIN", "fs:tmpfs")
def test_the_order_in_which_filesystems_are_named_means_nothing(mount: Callable[..., Path], tmp_path: Path) -> None:
    """In another order, taken out, named again: every event still finds its row, and what is not named is left out."""
    root = tmp_path / "root"
    make(root, {"a": {}, "b": {}, "top": b""})
    disks = {name: mount("tmpfs") for name in ("a", "b")}
    for name, disk in disks.items():
        make(disk, {"d": {"old": b"1"}})
        bind(disk, root / name)
    try:
        with Rig(tmp_path, {}, filesystems=["a", "b"]) as rig:
            for names in (["b", "a"], ["b"], ["a", "b"], ["a"], []):
                rig.named = [os.fsencode(name) for name in names]
                rig.reopen()
                rig.quick()
                expected = {b"top", *(os.fsencode(f"{name}/d/old") for name in names)}
                assert rig.paths() == expected
                assert rig.problems() == {os.fsencode(name): errno.EXDEV for name in disks if name not in names}
                for name in names:
                    (root / name / "d" / "new").write_bytes(b"22")
                    rig.changed(f"{name}/d/new")
                    assert rig.paths() == expected | {os.fsencode(f"{name}/d/new")}
                    (root / name / "d" / "new").unlink()
                    rig.changed(f"{name}/d/new")
            rig.reopen()
            assert rig.value("SELECT count(*) FROM filesystem") == 1
    finally:
        for name in disks:
            unmount(root / name)


def test_a_store_that_was_copied_keeps_its_rows(tmp_path: Path) -> None:
    """Restored to another filesystem: handles and inodes are void, names are the same; nothing is an arrival twice."""
    with Rig(tmp_path, TREE, [CLASS]) as rig:
        rig.execute("UPDATE file SET first_seen = 77")
        ids = {place: rig.directory(place) for place in ("a", "a/b", "c/d/e")}
        rig.close()
        shutil.copytree(rig.root, tmp_path / "copy", symlinks=True)
        rig.root.rename(tmp_path / "original")
        (tmp_path / "copy").rename(rig.root)
        rig.open()
        rig.quick()
        rig.verify()
        assert {place: rig.directory(place) for place in ids} == ids
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_progress_and_results(tmp_path: Path) -> None:
    """A scan says what it found and what it changed."""
    progress: list[tuple[int, int]] = []
    with Rig(tmp_path, None) as rig:
        make(rig.root, TREE)
        result = full_scan(rig.index, lambda: NOW, lambda seen, waiting: progress.append((seen, waiting)))
        assert (result.added, result.updated, result.removed, result.directories_listed, result.seen) == (5, 0, 0, 7, 5)
        assert progress[-1] == (5, 0)
        (rig.root / "top").unlink()
        (rig.root / "a" / "b" / "g").write_bytes(b"changed")
        result = full_scan(rig.index, lambda: NOW)
        assert (result.added, result.updated, result.removed, result.directories_listed, result.seen) == (0, 1, 1, 7, 4)


def test_a_pass_says_how_far_it_is(tmp_path: Path) -> None:
    """Directories listed since it began, which is neither what earlier passes did nor left over when it ends."""
    with Rig(tmp_path, {"a": {"f": b"1"}, "b": {"c": {}}}) as rig:
        assert (rig.index.pass_running, rig.index.pass_directories) == (None, 0)
        rig.begin_verify(1)
        told = [rig.index.pass_directories]
        while rig.index.pass_running is not None:
            rig.turn(1)
            told.append(rig.index.pass_directories)
        assert told == [1, 2, 3, 0]
