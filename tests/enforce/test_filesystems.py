"""The recipe on other filesystems, full ones, read-only ones, and for a user who owns little."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce import remove
from indexer.enforce.ledger import Ledger
from indexer.errors import LedgerError
from indexer.syscalls import beneath
from indexer.syscalls.rename import rename_noreplace
from tests.capabilities import needs
from tests.conftest import NOBODY
from tests.enforce.arena import Arena, Staged, digest
from tests.mounts import bind, unmount

Mount = Callable[..., Path]


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs", "btrfs", "overlay"])
@pytest.mark.parametrize("action", ["trash", "delete"])
def test_the_recipe_holds_on(mount: Mount, kind: str, action: str) -> None:
    """Removal, skipping of files in use, and restore work alike on each filesystem."""
    arena = Arena(mount(kind) / "store")
    for name in ("a", "b", "busy"):
        arena.write(f"uploads/{name}")
    os.symlink("a", arena.root / "uploads/link")
    before = arena.contents()
    with open(arena.root / "uploads/busy", "rb"):
        result = arena.run(arena.plan(action=action))
    assert (result.files_removed, result.kept, result.errors) == (3, {"in_use": 1}, ())
    assert arena.tree() == {b"uploads/busy"}
    if action == "trash":
        restored = arena.restore(run=result.run)
        assert (len(restored.restored), restored.errors) == (3, ())
        assert arena.contents() == before
        arena.run(arena.plan("uploads/a"))
        assert arena.purge(everything=True).files_removed == 1
    arena.close()


def test_lower_files_of_an_overlay(mount: Mount) -> None:
    """A file of the lower layer is trashed by a copy-up and comes back, and is deleted in its place."""
    top = mount("overlay")
    unmount(top)
    lower, upper, work = (Path(f"{top}-{name}") for name in ("lower", "upper", "work"))
    (lower / "uploads").mkdir()
    (lower / "uploads/a").write_bytes(b"below")
    (lower / "uploads/b").write_bytes(b"also below")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", top], check=True)
    arena = Arena(top)
    try:
        trashed = arena.run(arena.plan("uploads/a", action="trash"))
        deleted = arena.run(arena.plan("uploads/b", action="delete"))
        assert (trashed.kept, trashed.errors, trashed.files_removed) == ({}, (), 1)
        assert (deleted.kept, deleted.errors, deleted.files_removed) == ({}, (), 1)
        assert arena.tree() == set()
        assert len(arena.restore(run=trashed.run).restored) == 1
        assert arena.contents() == {b"uploads/a": digest(b"below")}
    finally:
        arena.close()


def test_another_filesystem_is_not_entered_unless_named(mount: Mount, tmp_path: Path) -> None:
    """A mount below the root is left alone; named in the configuration it has a trash of its own."""
    device = mount("tmpfs")
    (device / "in").mkdir()
    root = tmp_path / "store"
    (root / "uploads/disk").mkdir(parents=True)
    bind(device, root / "uploads/disk")
    try:
        arena = Arena(root)
        path = arena.write("uploads/disk/in/a")
        result = arena.run(arena.plan(path))
        assert (result.files_removed, result.kept) == (0, {"other_filesystem": 1})
        arena.close()

        arena = Arena(root, filesystems=("uploads/disk",))
        result = arena.run(arena.plan(path))
        assert (result.files_removed, result.kept, result.errors) == (1, {}, ())
        assert len(os.listdir(device / ".indexer/trash")) == 1
        assert [action.filesystem for action in arena.ledger.trash()] == ["uploads/disk"]
        assert [one.to for one in arena.restore(run=result.run).restored] == [path]
        arena.run(arena.plan(path))
        arena.close()
    finally:
        unmount(root / "uploads/disk")
    arena = Arena(root, filesystems=("uploads/disk",))
    ((_, error),) = arena.restore([path]).errors
    assert "ENODEV" in error
    assert arena.purge(everything=True).files_removed == 0
    assert arena.ledger.trash_totals()[0] == 1
    arena.close()


@needs("CAP_SYS_ADMIN", "chattr")
def test_a_project_quota_between_a_file_and_the_trash(mount: Mount) -> None:
    """The kernel refuses such a rename (EXDEV): never copied, but skipped and said; what is to go for good goes."""
    top = mount("xfs") / "store"
    top.mkdir()
    subprocess.run(["chattr", "+P", "-p", "1", top], check=True)
    (top / "uploads" / "theirs").mkdir(parents=True)
    subprocess.run(["chattr", "+P", "-p", "2", top / "uploads" / "theirs"], check=True)
    arena = Arena(top)
    for name in ("uploads/theirs/a", "uploads/theirs/b", "uploads/ours"):
        arena.write(name)
    result = arena.run(arena.plan(action="trash"))
    assert (result.files_removed, result.kept, result.errors) == (1, {"other_project": 2}, ())
    assert arena.tree() >= {b"uploads/theirs/a", b"uploads/theirs/b"}
    result = arena.run(arena.plan("uploads/theirs/a", action="delete"))
    assert (result.files_removed, result.kept, result.errors) == (1, {}, ())
    assert b"uploads/theirs/a" not in arena.tree()
    arena.close()


def test_a_bind_mount_of_the_same_filesystem_is_not_entered(arena: Arena) -> None:
    """A bind mount has the same device number, and is another mount all the same, with and without openat2."""
    arena.write("precious/a")
    (arena.root / "uploads/bound").mkdir(parents=True)
    bind(arena.root / "precious", arena.root / "uploads/bound")
    try:
        for openat2 in (True, False):
            before = beneath._Support.openat2
            beneath._Support.openat2 = openat2 and before
            result = arena.run(arena.plan("uploads/bound/a", action="delete"))
            beneath._Support.openat2 = before
            assert (result.files_removed, result.kept) == (0, {"other_filesystem": 1})
    finally:
        unmount(arena.root / "uploads/bound")
    assert b"precious/a" in arena.tree()


@pytest.mark.parametrize("action", ["trash", "delete"])
def test_without_openat2(arena: Arena, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """Component by component, the recipe gives the same answers."""
    monkeypatch.setattr(beneath._Support, "openat2", False)
    arena.write("uploads/x/y/a")
    arena.write("outputs/a")
    assert arena.run(arena.plan("uploads/x/y/a", action=action)).files_removed == 1
    arena.write("uploads/x/y/a")
    plan = arena.plan("uploads/x/y/a", action=action)
    (arena.root / "uploads/x/y").rename(arena.root / "uploads/x/z")
    (arena.root / "uploads/x/y").symlink_to("../../outputs")
    result = arena.run(plan)
    assert (result.files_removed, result.kept) == (0, {"directory_moved": 1})
    assert b"outputs/a" in arena.tree()


def _fill(folder: Path, leave: int = 0) -> Path:
    """Write until the filesystem has no byte left, then give `leave` bytes back."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                continue
        os.fsync(stream.fileno())
        if leave:
            stream.truncate(os.fstat(stream.fileno()).st_size - leave)
    return filler


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "btrfs", "xfs"])
def test_a_full_disk_never_blocks_removal(mount: Mount, kind: str) -> None:
    """With not one byte free, files are deleted and recorded: the ballast makes the room for the ledger."""
    top = mount(kind, size=64)
    arena = Arena(top / "store", ballast=True)
    for number in range(500):
        arena.write(f"frames/job/{number:04}.jpg", b"x" * 5000)
    plan = arena.plan(*[f"frames/job/{number:04}.jpg" for number in range(500)])
    _fill(top)
    result = arena.run(plan)

    assert (result.files_removed, result.errors, result.kept) == (500, (), {})
    assert arena.ledger.unfinished() == []
    assert {outcome for outcome, _ in arena.outcomes(result.run).values()} == {"deleted"}
    arena.close()
    with Ledger.open(top / "store/.indexer/ledger.db") as ledger:
        assert ledger.run(result.run or 0) is not None


def test_a_disk_that_is_full_before_the_ledger_is_opened(mount: Mount) -> None:
    """A cron run that starts on a full disk gives the ballast up too."""
    top = mount("ext4", size=64)
    arena = Arena(top / "store", ballast=True)
    path = arena.write("frames/a.jpg", b"x" * 5000)
    arena.close()
    _fill(top)
    arena = Arena(top / "store", ballast=True)
    assert arena.run(arena.plan(path)).files_removed == 1
    arena.close()


def test_no_room_for_one_more_name_in_the_trash(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames that fail for want of room go one by one; where even that fails, a delete unlinks in its place."""
    real = rename_noreplace
    room = 3

    def cramped(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        room -= 1
        real(source_fd, source, target_fd, target)

    paths = [arena.write(f"frames/{number}.jpg") for number in range(10)]
    kept = arena.write("uploads/a")
    plan = arena.plan(*paths, kept)
    monkeypatch.setattr(remove, "rename_noreplace", cramped)
    result = arena.run(plan)

    assert result.files_removed == 10
    assert result.errors == ((kept, "ENOSPC: No space left on device"),)
    assert arena.tree() == {kept}


def test_a_read_only_filesystem(mount: Mount, tmp_path: Path) -> None:
    """Each file is named with EROFS, and nothing else happens."""
    device = mount("tmpfs")
    root = tmp_path / "store"
    (root / "uploads/disk").mkdir(parents=True)
    bind(device, root / "uploads/disk")
    try:
        arena = Arena(root, filesystems=("uploads/disk",))
        path = arena.write("uploads/disk/a")
        plan = arena.plan(path)
        subprocess.run(["mount", "-o", "remount,ro,bind", root / "uploads/disk"], check=True)
        result = arena.run(plan)
        assert result.files_removed == 0
        assert "EROFS" in result.errors[0][1]
        assert result.exit_code == 1
        arena.close()
    finally:
        unmount(root / "uploads/disk")


@needs("chattr")
def test_an_immutable_file(mount: Mount) -> None:
    """EPERM is named, the rest of the run goes on."""
    arena = Arena(mount("ext4") / "store")
    arena.write("uploads/a")
    arena.write("uploads/b")
    plan = arena.plan()
    subprocess.run(["chattr", "+i", arena.root / "uploads/a"], check=True)
    result = arena.run(plan)
    subprocess.run(["chattr", "-i", arena.root / "uploads/a"], check=True)

    assert (result.files_removed, result.errors) == (1, ((b"uploads/a", "EPERM: Operation not permitted"),))
    arena.close()


def _as_nobody(work: Callable[[], Any]) -> Any:
    """Return what `work` returns (as JSON) in a child without any capability."""
    with tempfile.TemporaryDirectory() as warm:  # the child may not read the interpreter's own files
        Ledger.open(Path(warm) / "ledger.db", ballast=False).close()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as after an exec, /proc/self is ours again
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def _removal(root: Path, *names: str) -> Callable[[], list[Any]]:
    def work() -> list[Any]:
        arena = Arena(root)
        result = arena.run(arena.plan(*names))
        return [result.files_removed, result.kept, [[path.decode(), error] for path, error in result.errors]]

    return work


@needs("CAP_CHOWN", "CAP_SYS_ADMIN")
def test_an_ordinary_user(public_tmp: Path) -> None:
    """Without capabilities: own files go; a file of somebody else cannot be leased, so it stays and says so."""
    root = public_tmp / "store"
    (root / "uploads").mkdir(parents=True)
    for folder in (root, root / "uploads"):
        os.chown(folder, NOBODY, NOBODY)
    for name in ("mine", "theirs", "unreadable"):
        (root / "uploads" / name).write_bytes(name.encode())
        os.chown(root / "uploads" / name, NOBODY if name == "mine" else 1234, NOBODY)
    os.chmod(root / "uploads/unreadable", 0o600)
    done = _as_nobody(_removal(root, "uploads/mine", "uploads/theirs", "uploads/unreadable"))

    assert done == [1, {"cannot_tell": 2}, []]
    assert sorted(os.listdir(root / "uploads")) == ["theirs", "unreadable"]


@needs("CAP_CHOWN", "CAP_SYS_ADMIN")
def test_a_directory_that_may_not_be_written(public_tmp: Path) -> None:
    """Where a file may not be renamed it is named, and nothing is forced: no chmod on the way."""
    root = public_tmp / "store"
    (root / "uploads").mkdir(parents=True)
    os.chown(root, NOBODY, NOBODY)
    os.chmod(root / "uploads", 0o555)
    (root / "uploads/mine").write_bytes(b"x")
    os.chown(root / "uploads/mine", NOBODY, NOBODY)
    done = _as_nobody(_removal(root, "uploads/mine"))

    assert done == [0, {}, [["uploads/mine", "EACCES: Permission denied"]]]
    assert os.listdir(root / "uploads") == ["mine"]
    assert stat.S_IMODE(os.stat(root / "uploads").st_mode) == 0o555


def test_staged_is_used() -> None:
    """The stage strikes only in its window."""
    struck: list[bytes] = []
    staged = Staged("file.pinned", struck.append)
    staged("file.leased", b"x")
    staged("file.pinned", b"y")
    staged("file.pinned", b"z")
    assert struck == [b"y"]


@pytest.mark.parametrize("action", ["delete", "trash"])
@pytest.mark.parametrize("inodes", [0, 130])
def test_two_megabytes_that_are_full(mount: Mount, action: str, inodes: int) -> None:
    """On 2 MB without a free byte, or without a free inode, files go and are recorded, and what was trashed comes back.

    Destroying needs no trash either: without an inode to make it, files are unlinked in their place.
    """
    top = mount("tmpfs", size=2, inodes=inodes)
    arena = Arena(top / "store", ballast=True)
    paths = [arena.write(f"uploads/{number:03}", b"%03d" % number) for number in range(100)]
    plan = arena.plan(*paths, action=action)
    if action == "trash":  # there was a run before; without a trash, nothing can be trashed on a full disk
        assert arena.run(arena.plan(arena.write("uploads/first"), action=action)).files_removed == 1
    for number in range(10_000):
        try:
            (top / f"filler{number}").write_bytes(b"" if inodes else b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - the room is what is filled
            break
    try:
        result = arena.run(plan)
    except LedgerError:  # not one page for the journal: nothing was touched, and it says so
        assert not inodes
        assert arena.tree() == set(paths)
        os.unlink(top / "filler0")
        for number in range(1, 40):
            os.unlink(top / f"filler{number}")
        result = arena.run(plan)
    assert (result.files_removed, result.errors) == (100, ())
    assert {outcome for outcome, _ in arena.outcomes(result.run).values()} == {
        "deleted" if action == "delete" else "trashed"
    }
    if action == "trash":
        assert len(arena.restore(run=result.run).restored) == 100
        assert {path for path in arena.tree() if path.startswith(b"uploads/")} == set(paths)
    arena.close()
