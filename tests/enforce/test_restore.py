"""The way back: what a restore returns, where it lands, and what a purge may destroy."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.enforce.arena import NOW, Arena, digest
from tests.trees import walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.enforce.arena import Staged

    Stage = Callable[..., Staged]


@pytest.fixture(autouse=True)
def foresee(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every restore here is one that a dry run has told of before, word for word."""
    monkeypatch.setattr(Arena, "foresee", True)


def _facts(path: Path) -> tuple[object, ...]:
    st = os.lstat(path)
    return (
        stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_atime_ns, st.st_ino,
        st.st_nlink,
        {name: os.getxattr(path, name) for name in os.listxattr(path)}, digest(_quietly(path)),
    )  # fmt: skip


def _quietly(path: Path) -> bytes:
    """Read without leaving a trace in st_atime."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOATIME)) as stream:
        return stream.read()


def test_everything_about_a_file_comes_back(arena: Arena) -> None:
    """Content, times, mode, owner, xattrs and hard-link count are what they were."""
    path = arena.write("uploads/user/a.mp4", b"film" * 1000)
    place = arena.root / "uploads/user/a.mp4"
    os.chmod(place, 0o4640)
    if os.geteuid() == 0:
        os.chown(place, 1234, 4321)
        os.chmod(place, 0o4640)
    os.setxattr(place, "user.note", b"keep me")
    os.link(place, arena.root / "second name")
    os.utime(place, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    before = _facts(place)
    run = arena.run(arena.plan(path)).run
    assert not place.exists()
    result = arena.restore([path])

    assert [(one.path, one.to, one.beside) for one in result.restored] == [(path, path, False)]
    assert result.errors == ()
    assert _facts(place) == before
    action = arena.ledger.removed(path)
    assert action is not None
    assert (action.run, action.outcome, action.left_run, action.left_at, action.restored_to) == (
        run,
        "restored",
        2,
        NOW,
        path,
    )
    assert (action.in_trash, action.restorable_until) == (False, None)
    assert arena.ledger.trash_totals() == (0, 0)
    row = arena.ledger.run(2)
    assert row is not None
    assert (row.kind, row.planned, row.errors) == ("restore", 1, 0)


@pytest.mark.parametrize("where", ["place", "beside", "elsewhere"])
def test_a_restore_that_dies_says_where_the_file_is(arena: Arena, stage: Stage, where: str) -> None:
    """Its place, or a name beside it, or nowhere in the store; never the name of another file."""
    path = arena.write("uploads/a", b"old")
    run = arena.run(arena.plan(path, action="trash")).run
    if where == "beside":
        arena.write(path, b"new")
    other = arena.root / "other"
    other.mkdir()
    to_fd = os.open(other, os.O_RDONLY) if where == "elsewhere" else None

    class Died(BaseException):
        pass

    def die(_name: bytes) -> None:
        raise Died

    stage("restore.after", die)
    with pytest.raises(Died):
        arena.restore([path], to_fd=to_fd)
    stage("restore.after", lambda _name: None)
    arena.recover()
    arena.restore([path])

    (action,) = arena.ledger.actions(run or 0)
    wanted = {"place": path, "beside": path + b".restored-1", "elsewhere": None}[where]
    assert (action.outcome, action.restored_to, action.in_trash) == ("restored", wanted, False)
    assert (action.error is None) == (where != "elsewhere")
    if wanted is not None:
        assert arena.contents()[wanted] == digest(b"old")
    if to_fd is not None:
        os.close(to_fd)


def test_a_run_comes_back_with_its_directories(arena: Arena) -> None:
    """`restore --run` brings a whole run back, and the empty directories it removed with mode, owner and times."""
    for number in range(5):
        arena.write(f"frames/job-1/{number}.jpg")
    arena.write("frames/job-2/a/b/x.jpg")
    os.chmod(arena.root / "frames/job-1", 0o2751)
    os.utime(arena.root / "frames/job-2/a", (1e9, 1e9))
    before = walk(arena.root)
    folders = {name: os.stat(arena.root / name).st_mode for name in ("frames/job-1", "frames/job-2/a/b")}
    plan = arena.plan(action="trash")
    result = arena.run(plan)
    assert (result.files_removed, result.directories_removed) == (6, 4)
    back = arena.restore(run=result.run)

    assert len(back.restored) == 6
    after = walk(arena.root)
    assert {path: seen._replace(ctime_ns=0) for path, seen in after.items()} == {
        path: seen._replace(ctime_ns=0) for path, seen in before.items()
    }
    assert {name: os.stat(arena.root / name).st_mode for name in folders} == folders


def test_never_over_an_existing_file(arena: Arena) -> None:
    """Where the name is taken, the file lands beside it and says so; what is there is untouched."""
    path = arena.write("uploads/a", b"first")
    arena.run(arena.plan(path))
    arena.write("uploads/a", b"second")
    arena.run(arena.plan(path))
    arena.write("uploads/a", b"third")
    assert [one.to for one in arena.restore([path]).restored] == [b"uploads/a.restored-1"]
    assert [one.to for one in arena.restore([path]).restored] == [b"uploads/a.restored-2"]

    assert arena.contents() == {
        b"uploads/a": digest(b"third"),
        b"uploads/a.restored-1": digest(b"second"),
        b"uploads/a.restored-2": digest(b"first"),
    }


def test_beside_a_name_of_255_bytes(arena: Arena) -> None:
    """The name beside is never too long for the filesystem."""
    path = arena.write(b"uploads/" + b"n" * 255)
    arena.run(arena.plan(path))
    arena.write(path)
    (one,) = arena.restore([path]).restored
    assert one.beside
    assert len(one.to) == len(path)


def test_a_tree_comes_back_and_nothing_else(arena: Arena) -> None:
    """A PATH may be a directory: all below it comes back; a neighbour whose name begins alike does not."""
    for name in ("uploads/job/a", "uploads/job/b/c", "uploads/job-2/d"):
        arena.write(name)
    arena.run(arena.plan())
    result = arena.restore([b"uploads/job", b"uploads/none"])

    assert [one.to for one in result.restored] == [b"uploads/job/a", b"uploads/job/b/c"]
    assert result.errors == ((b"uploads/none", "nothing in the trash under this path"),)


def test_restore_to_another_directory(arena: Arena) -> None:
    """`--to` keeps the relative path below the directory given."""
    path = arena.write("uploads/user/a")
    arena.run(arena.plan(path))
    (arena.root / "rescued").mkdir()
    fd = os.open(arena.root / "rescued", os.O_RDONLY)
    result = arena.restore([path], to_fd=fd)
    os.close(fd)

    assert [one.to for one in result.restored] == [path]
    assert arena.tree() == {b"rescued/uploads/user/a"}


def test_restore_to_another_filesystem(arena: Arena, mount: Callable[..., Path]) -> None:
    """Out of the trash files are renamed: it stays there, and the text says which directory would do."""
    path = arena.write("uploads/user/a")
    arena.run(arena.plan(path))
    fd = os.open(mount("tmpfs", size=1), os.O_RDONLY)
    result = arena.restore([path], to_fd=fd)
    os.close(fd)
    assert result.restored == ()
    assert [text.startswith("EXDEV: DIR lies on another filesystem") for _, text in result.errors] == [True]
    assert arena.ledger.trash_totals()[0] == 1


def test_restore_never_leaves_the_root(arena: Arena, tmp_path: Path) -> None:
    """A directory that is now a symlink out of the store takes nothing out of it; the file stays in the trash."""
    path = arena.write("uploads/user/a")
    arena.run(arena.plan(path))
    (arena.root / "uploads/user").rmdir()
    (tmp_path / "outside").mkdir()
    (arena.root / "uploads/user").symlink_to(tmp_path / "outside")
    result = arena.restore([path])

    assert result.restored == ()
    assert [error.partition(":")[0] for _, error in result.errors] == ["ENOTDIR"]
    assert os.listdir(tmp_path / "outside") == []
    assert arena.ledger.trash_totals()[0] == 1


def test_an_exchanged_object_in_the_trash_is_neither_restored_nor_purged(arena: Arena) -> None:
    """What lies under a trash name must be what was put there."""
    path = arena.write("uploads/a")
    arena.run(arena.plan(path))
    (trashed,) = (arena.root / ".indexer/trash").iterdir()
    trashed.rename(arena.root / "aside")
    trashed.write_bytes(b"something else")

    assert "not the one" in arena.restore([path]).errors[0][1]
    assert "not the one" in arena.purge(everything=True).errors[0][1]
    assert trashed.read_bytes() == b"something else"


def test_purge_takes_what_is_past_its_time(arena: Arena) -> None:
    """The trash keeps each file for its class's trash_ttl, then a purge returns its blocks."""
    first = arena.write("uploads/a", b"x" * 5000)
    arena.run(arena.plan(first))
    arena.now += 3600
    second = arena.write("uploads/b")
    arena.run(arena.plan(second))
    assert arena.purge().files_removed == 0
    arena.now += 86400 - 3600
    result = arena.purge()

    assert (result.files_removed, result.bytes_freed, result.errors) == (1, 8192, ())
    action = arena.ledger.removed(first)
    assert action is not None
    assert (action.outcome, action.left_run, action.left_at, action.in_trash) == (
        "purged",
        result.run,
        int(arena.now),
        False,
    )
    assert [action.path for action in arena.ledger.trash()] == [second]
    assert arena.restore([first]).errors == ((first, "nothing in the trash under this path"),)


def test_purge_older_than_and_everything(arena: Arena) -> None:
    """`trash empty --older-than` goes by the time of removal; without it all goes."""
    for name in ("uploads/a", "uploads/b"):
        arena.run(arena.plan(arena.write(name)))
        arena.now += 100
    assert arena.purge(older_than=150).files_removed == 1
    assert arena.purge(everything=True).files_removed == 1
    assert os.listdir(arena.root / ".indexer/trash") == []
    assert arena.ledger.trash_totals() == (0, 0)
