"""One batch of hints: each name is stat'ed once, and its row agrees with what is there."""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.events import ACCESSED, CHANGED
from indexer.index import stats
from tests.index.rig import Rig
from tests.trees import Fifo, Node, Symlink, hostile_names, make, walk

TREE: dict[str, Node] = {
    "uploads": {"a.mp4": b"film", "b.mp4": b"another"},
    "frames": {"job": {"1.jpg": b"1"}},
    "note": b"x",
}


def create(root: Path) -> None:
    """Make a new file."""
    (root / "uploads" / "new").write_bytes(b"12345")


def modify(root: Path) -> None:
    """Write in place."""
    (root / "uploads" / "new").write_bytes(b"1" * 5000)


def attributes(root: Path) -> None:
    """Change mode, owner and times."""
    path = root / "uploads" / "new"
    path.chmod(0o600)
    os.chown(path, 12, 34)
    os.utime(path, (5, 6))


def delete(root: Path) -> None:
    """Remove it."""
    (root / "uploads" / "new").unlink()


def test_a_name_is_brought_into_agreement_whatever_happened_to_it(tmp_path: Path) -> None:
    """Create, modify, change attributes, delete: after each, the row equals the stat, and the counters the rows."""
    with Rig(tmp_path, TREE) as rig:
        assert rig.wrong() == {}
        for operation, expected in zip(
            (create, modify, attributes, delete), ((1, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 1)), strict=True
        ):
            operation(rig.root)
            done = rig.index.apply(rig.batch("uploads/new"), budget=0)
            assert ((done.added, done.updated, done.removed), rig.wrong()) == (expected, {}), operation


def test_hints_may_be_wrong_late_and_repeated(tmp_path: Path) -> None:
    """A hint on an unchanged, an unknown or a vanished name changes nothing."""
    with Rig(tmp_path, TREE) as rig:
        before = rig.index.connection.execute("SELECT * FROM file").fetchall()
        for place in ("note", "uploads/a.mp4", "uploads/a.mp4", "nothing", "frames", "frames/job/nothing"):
            rig.changed(place)
        assert rig.index.connection.execute("SELECT * FROM file").fetchall() == before
        assert rig.wrong() == {}


@pytest.mark.parametrize("order", list(itertools.permutations(("dir", "dir/f", "dir/sub", "dir/sub/g"))))
def test_any_order_of_hints_gives_the_same(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Children before parents, parents before children: all of a new tree is found once."""
    with Rig(tmp_path, {}) as rig:
        make(rig.root, {"dir": {"f": b"1", "sub": {"g": b"22"}}})
        for place in order:
            rig.apply(place)
        rig.settle()
        assert rig.wrong() == {}


def test_a_new_directory_is_registered_before_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No window is open: what happens after the registration raises events, what happened before is in the listing."""
    with Rig(tmp_path, {}) as rig:
        order: list[str] = []
        listdir = os.listdir

        def note(fd: int) -> list[str]:
            order.append("list")
            return listdir(fd)

        monkeypatch.setattr(rig.watcher, "register", lambda *args: order.append(f"register {args[0]}"))
        monkeypatch.setattr(os, "listdir", note)
        make(rig.root, {"new": {"below": {"f": b"1"}}})
        rig.changed("new")
        monkeypatch.undo()
        new, below = rig.directory("new"), rig.directory("new/below")
        assert order == [f"register {new}", "list", f"register {below}", "list"]


def test_a_directory_of_others_may_be_dropped_until_it_is_ours(tmp_path: Path) -> None:
    """The watcher is told of a directory that is not the store's; when it moves in, it is registered and listed."""
    outside = tmp_path / "outside"
    make(outside, {"f": b"1"})
    with Rig(tmp_path, {}) as rig:
        key = (rig.key("../outside"), b"f")
        rig.apply(key)
        assert rig.watcher.calls == [("register", 1), ("foreign", key[0])]
        outside.rename(rig.root / "inside")
        rig.changed("inside")
        assert rig.watcher.calls[2:] == [("register", rig.directory("inside"))]
        assert rig.wrong() == {}


def test_a_file_becomes_a_directory_and_back(tmp_path: Path) -> None:
    """The row of the one goes, the other comes, whichever way round, empty or not."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "note").unlink()
        make(rig.root, {"note": {"inner": b"1"}})
        rig.changed("note")
        assert rig.wrong() == {}
        (rig.root / "note" / "inner").unlink()
        (rig.root / "note").rmdir()
        (rig.root / "note").write_bytes(b"again a file")
        rig.changed("note")
        assert rig.wrong() == {}


@pytest.mark.parametrize("listed", [False, True], ids=["by a hint", "by a listing"])
def test_a_directory_with_contents_gives_way_to_a_file(tmp_path: Path, listed: bool) -> None:
    """Everything below it leaves the index together with its directories."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "frames").rename(tmp_path / "away")
        (rig.root / "frames").write_bytes(b"file")
        if listed:
            rig.quick()
        else:
            rig.changed("frames")
        assert rig.wrong() == {}
        assert rig.value("SELECT count(*) FROM directory") == 2


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """Every legal name works in every way: listed, hinted, as file and as directory, removed again."""
    names = hostile_names(1, 150)
    tree: dict[bytes, Node] = {name: b"f" if position % 3 else {name: b"inner"} for position, name in enumerate(names)}
    with Rig(tmp_path, {"listed": tree, "hinted": {}}) as rig:
        assert rig.wrong() == {}
        make(rig.root / "hinted", tree)
        rig.changed(*(b"hinted/" + name for name in names))
        assert rig.wrong() == {}
        before = walk(rig.root)
        assert len(before) == 2 * len(names)
        for name in names[1::3]:
            os.unlink(os.path.join(os.fsencode(rig.root), b"hinted", name))
        rig.changed(*(b"hinted/" + name for name in names))
        assert rig.wrong() == {}


def test_symlinks_fifos_and_sockets_are_names_like_others(tmp_path: Path) -> None:
    """A link is never followed, not even to a directory above; a pipe is never opened."""
    tree: dict[str, Node] = {
        "up": Symlink(".."),
        "loop": Symlink("loop"),
        "dangling": Symlink("nowhere"),
        "pipe": Fifo(),
        "d": {},
    }
    with Rig(tmp_path, tree) as rig, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.fspath(rig.root / "d" / "socket"))
        rig.changed("d/socket")
        assert rig.wrong() == {}
        kinds = {path: seen.kind for path, seen in walk(rig.root).items()}
        assert kinds == {
            **dict.fromkeys((b"up", b"loop", b"dangling"), "symlink"),
            **dict.fromkeys((b"pipe", b"d/socket"), "other"),
        }
        (rig.root / "d" / "socket").unlink()
        (rig.root / "d").rmdir()
        (rig.root / "d").symlink_to(tmp_path)  # a directory is replaced by a link to a directory
        rig.changed("d")
        assert rig.wrong() == {}


def test_the_store_s_own_files_are_exempt_and_no_others(tmp_path: Path) -> None:
    """The control directory and the configuration by inode, the latter also by name after it was replaced."""
    root = tmp_path / "root"
    make(
        root,
        {".indexer": {"index.db": b""}, "indexer.toml": b"", "sub": {".indexer": {"f": b"1"}, "indexer.toml": b"2"}},
    )
    own = frozenset((st.st_dev, st.st_ino) for st in (os.stat(root / ".indexer"), os.stat(root / "indexer.toml")))
    with Rig(tmp_path, {}, exempt=own, own_file=b"indexer.toml") as rig:
        assert rig.wrong() == {}
        assert rig.paths() == {b"sub/.indexer/f", b"sub/indexer.toml"}
        (root / "new").write_bytes(b"[store]")
        (root / "new").rename(root / "indexer.toml")
        rig.changed("indexer.toml", "new", ".indexer/index.db", ".indexer")
        assert rig.paths() == {b"sub/.indexer/f", b"sub/indexer.toml"}
        (root / ".indexer").rename(root / "elsewhere")
        rig.changed(".indexer", "elsewhere")
        assert rig.paths() == {b"sub/.indexer/f", b"sub/indexer.toml"}


def test_what_is_ignored_has_no_row(tmp_path: Path) -> None:
    """Names and trees that `ignore` covers are left out, also when they are renamed to it or away from it."""
    with Rig(tmp_path, {}) as rig:
        rig.reopen(ignore=("**/.git/**", "*.part"))
        make(rig.root, {"a": {".git": {"x": b"1"}, "f": b"2", "f.part": b"3"}})
        rig.changed("a")
        assert rig.paths() == {b"a/f"}
        (rig.root / "a" / "f").rename(rig.root / "a" / "g.part")
        rig.changed("a/f", "a/g.part")
        assert rig.paths() == set()
        (rig.root / "a" / "g.part").rename(rig.root / "a" / "g")
        rig.changed("a/g.part", "a/g")
        assert rig.paths() == {b"a/g"}


def test_a_name_that_cannot_be_looked_at_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One inode that the disk cannot read (EIO): its row stays, the directory is reported, all other names go on."""
    honest = stats.stats

    def lying(fd: int, names: list[bytes]) -> Iterator[tuple[int, ...]]:
        for name in names:
            yield (0, errno.EIO, *[0] * 15) if name == b"bad" else next(honest(fd, [name]))

    with Rig(tmp_path, {"d": {"bad": b"1", "good": b"22", "gone": b"3"}}) as rig:
        monkeypatch.setattr("indexer.index.compare.stats", lying)
        (rig.root / "d" / "gone").unlink()
        (rig.root / "d" / "new").write_bytes(b"4")
        rig.changed("d/bad", "d/gone", "d/good", "d/new")
        assert (rig.wrong(), rig.problems()) == ({}, {b"d": errno.EIO})
        (rig.root / "d" / "newer").write_bytes(b"5")
        rig.changed("d/newer")
        assert rig.wrong() == {}
        assert rig.quick() >= {b"d"}  # whatever its times say, it is tried again
        assert (rig.wrong(), rig.problems()) == ({}, {b"d": errno.EIO})
        monkeypatch.undo()
        rig.quick()
        assert (rig.wrong(), rig.problems()) == ({}, {})


def test_random_histories_of_batches_keep_counters_and_rows(tmp_path: Path) -> None:
    """Any hints in any split: at the end the counters equal a recount, for each directory and class."""
    chance = random.Random(7)
    with Rig(tmp_path, TREE) as rig:
        names = [f"{folder}{name}" for folder in ("", "uploads/", "frames/", "frames/job/") for name in "abc"]
        for _ in range(60):
            touched = chance.sample(names, chance.randint(1, 6))
            for name in touched:
                path = rig.root / name
                if path.exists() and chance.random() < 0.5:
                    path.unlink()
                else:
                    path.write_bytes(b"x" * chance.randrange(20_000))
            chance.shuffle(touched)
            cut = chance.randint(0, len(touched))
            rig.apply(*touched[:cut], drained=False)
            rig.apply(*touched[cut:], kinds=CHANGED | ACCESSED)
            assert rig.wrong() == {}
