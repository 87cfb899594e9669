"""What an adoption tells the ledger: which objects of the copy are those that it knows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.enforce import hooks
from indexer.enforce.adopt import Adopted, take_over
from indexer.errors import FilesystemError
from indexer.rules import Rule
from tests.enforce.arena import UPLOADS, Arena, Staged

WHOLE = Rule("frames", ("frames/**",), ttl=86400, action="delete", remove_empty_dirs=True, whole_directories=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a store with its trash in the tree."""
    return tmp_path / "store"


def copied(root: Path) -> Arena:
    """Put a copy into the place of a store, and open it."""
    copy = root.with_name("copy")
    subprocess.run(["cp", "-a", root, copy], check=True)
    shutil.rmtree(root)
    copy.rename(root)
    return Arena(root, rules=(UPLOADS, WHOLE))


def adopt(arena: Arena) -> Adopted:
    """Take it over."""
    return take_over(store=arena.store, root_fd=arena.root_fd, ledger=arena.ledger, now=lambda: arena.now)


@pytest.fixture
def trashed(root: Path) -> Iterator[Arena]:
    """Return the copy of a store in whose trash lie a file, a link and a hard link."""
    arena = Arena(root, rules=(UPLOADS, WHOLE))
    paths = [arena.write(f"uploads/{name}") for name in ("a", "b")]
    os.symlink("a", root / "uploads" / "link")
    os.link(root / "uploads" / "b", root / "elsewhere")
    assert arena.run(arena.plan(*paths, "uploads/link")).files_removed == 3
    arena.close()
    arena = copied(root)
    yield arena
    arena.close()


def test_copies_are_known_again(trashed: Arena) -> None:
    """Their outcome and the time until which they can be restored stay; a second time there is nothing to do."""
    before = [(one.path, one.outcome, one.at, one.restorable_until, one.size) for one in trashed.ledger.trash()]
    assert adopt(trashed) == Adopted(renewed=3)
    assert [(one.path, one.outcome, one.at, one.restorable_until, one.size) for one in trashed.ledger.trash()] == before
    assert adopt(trashed) == Adopted()
    result = trashed.restore([b"uploads"])
    assert (len(result.restored), result.errors) == (3, ())


@pytest.mark.parametrize("difference", ["size", "mtime", "owner", "mode"])
def test_what_differs_is_a_stray(trashed: Arena, difference: str) -> None:
    """It is never destroyed by time, and no run fails for it; everything else goes as it should."""
    action = next(one for one in trashed.ledger.trash() if one.path == b"uploads/a")
    path = trashed.root / ".indexer" / "trash" / (action.trash_name or "")
    before = path.stat()
    if difference == "size":
        path.write_bytes(b"longer than it was")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif difference == "mtime":
        os.utime(path, (1, 1))
    elif difference == "mode":
        path.chmod(0o600 if before.st_mode & 0o777 != 0o600 else 0o644)
    elif os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        pytest.skip("needs CAP_CHOWN")
    assert adopt(trashed) == Adopted(renewed=2, strays=(b"uploads/a",))
    trashed.now += 10**9
    result = trashed.purge()
    assert (result.files_removed, result.errors) == (2, ())
    assert path.exists()
    assert trashed.restore([b"uploads/a"]).errors == ()


def _cut_off(root: Path, window: str) -> None:
    child = os.fork()
    if child == 0:
        hooks.at = Staged(window, lambda _name: os.kill(os.getpid(), signal.SIGKILL))
        arena = Arena(root, rules=(UPLOADS, WHOLE))
        arena.run(arena.plan("frames/job/a", "frames/job/b"))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("window", ["ledger.after", "directory.renamed", "directory.checked", "rename.after"])
def test_a_directory_that_was_going_in_one_piece_comes_back_whole(root: Path, window: str) -> None:
    """Its files, too, are known by what they are in the copy."""
    arena = Arena(root, rules=(UPLOADS, WHOLE))
    paths = {arena.write(f"frames/job/{name}") for name in ("a", "b")}
    arena.close()
    _cut_off(root, window)
    arena = copied(root)
    try:
        adopt(arena)
        found = arena.recover()
        assert (found.unknown, found.errors) == (0, ())
        assert arena.tree() >= paths
        assert arena.in_trash() == []
    finally:
        arena.close()


def test_an_unfinished_run_without_its_trash_is_refused(root: Path) -> None:
    """Nothing is written; an empty trash, made by hand, says that it is lost."""
    arena = Arena(root, rules=(UPLOADS, WHOLE))
    arena.write("frames/job/a")
    arena.write("frames/job/b")
    arena.close()
    _cut_off(root, "rename.after")
    shutil.rmtree(root / ".indexer" / "trash")
    arena = copied(root)
    try:
        for _ in range(2):
            with pytest.raises(FilesystemError, match=r"run 1 was cut off.*\.indexer/trash"):
                adopt(arena)
        (root / ".indexer" / "trash").mkdir(mode=0o700)
        adopt(arena)
        assert arena.recover().unknown > 0
    finally:
        arena.close()
