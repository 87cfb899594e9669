"""Directories that a restore makes again let in whom they let in before, or nobody."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.enforce.arena import UPLOADS, Arena
from tests.enforce.conftest import needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.enforce.arena import Staged

pytestmark = needs_root

ALICE = 1001
FILE = b"uploads/in/alice/key"
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
NOBODY = 0xFFFFFFFF


@pytest.fixture(autouse=True)
def foresee(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every restore here is one that a dry run has told of before, word for word."""
    monkeypatch.setattr(Arena, "foresee", True)


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an ACL as the kernel takes it (linux/posix_acl_xattr.h): version 2, then tag, permissions, id of each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NAMED = acl((1, 7, NOBODY), (2, 7, 1003), (4, 0, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))
"""u::rwx, u:1003:rwx, g::---, m::rwx, o::---: the mode says 0770, and the group has nothing."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Arena]:
    """Return a store with a private directory of alice's, whose class removes what has become empty."""
    arena = Arena(tmp_path / "store", rules=(replace(UPLOADS, remove_empty_dirs=True),))
    arena.write(FILE)
    os.chown(arena.root / os.fsdecode(FILE), ALICE, ALICE)
    (arena.root / "uploads/in/alice").chmod(0o700)
    os.chown(arena.root / "uploads/in/alice", ALICE, ALICE)
    yield arena
    arena.close()


def _facts(path: Path) -> tuple[int, int, int]:
    st = path.stat()
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)


def _set(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError:
        pytest.skip("no ACLs on this filesystem")


def _none(path: Path) -> set[str]:
    return {ACCESS, DEFAULT} - set(os.listxattr(path))


def test_an_acl_comes_back(store: Arena) -> None:
    """The bits of the group are the ACL's mask: without the ACL the group would get them."""
    place = store.root / "uploads/in/alice"
    _set(place, ACCESS, NAMED)
    _set(place, DEFAULT, NAMED)
    before = _facts(place)
    assert before[2] == 0o770
    assert store.run(store.plan()).directories_removed > 0
    assert store.restore([FILE]).errors == ()
    assert _facts(place) == before
    assert (os.getxattr(place, ACCESS), os.getxattr(place, DEFAULT)) == (NAMED, NAMED)


def test_an_acl_that_cannot_come_back_lets_nobody_in(store: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be set, its owner alone has the directory, and the result says so."""
    place = store.root / "uploads/in/alice"
    _set(place, ACCESS, NAMED)
    store.run(store.plan())

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refused)
    monkeypatch.setattr(Arena, "foresee", False)  # nothing is made by a dry run, so nothing is refused
    result = store.restore([FILE])
    assert [one.path for one in result.restored] == [FILE]
    assert _facts(place) == (ALICE, ALICE, 0o700)
    assert [path for path, text in result.errors if "0700" in text] == [b"uploads/in/alice"]


def test_the_trash_s_own_acl_is_not_handed_down(store: Arena) -> None:
    """A default ACL on the trash, inherited from the store's root, is nothing that the directory ever had."""
    store.run(store.plan())
    _set(store.root / ".indexer/trash", DEFAULT, NAMED)
    store.restore([FILE])
    place = store.root / "uploads/in/alice"
    assert _facts(place) == (ALICE, ALICE, 0o700)
    assert _none(place) == {ACCESS, DEFAULT}


@pytest.mark.parametrize("known", [True, False])
def test_a_directory_that_she_removed_herself(tmp_path: Path, known: bool) -> None:
    """No run removed it: it is made as it was when the file left it, or, not even known, for the file's owner alone."""
    arena = Arena(tmp_path / "store")
    arena.write(FILE)
    os.chown(arena.root / os.fsdecode(FILE), ALICE, ALICE)
    place = arena.root / "uploads/in/alice"
    os.chown(place, ALICE, 4321)
    place.chmod(0o2710)
    arena.run(arena.plan())
    place.rmdir()
    if not known:
        arena.ledger._connection.execute("UPDATE action SET origin = NULL")
    assert arena.restore([FILE]).errors == ()
    assert _facts(place) == ((ALICE, 4321, 0o2710) if known else (ALICE, os.getegid(), 0o700))
    arena.close()


def test_another_directory_of_that_name_that_went_later_says_nothing(store: Arena) -> None:
    """Mallory's, wide open, was emptied and removed under alice's name: alice's comes back as alice's was."""
    run = store.run(store.plan()).run
    other = b"uploads/in/alice/other"
    store.write(other)
    place = store.root / "uploads/in/alice"
    os.chown(place, 1002, 1002)
    place.chmod(0o777)
    assert store.run(store.plan()).directories_removed > 0
    assert [one.path for one in store.restore([FILE], run=run).restored] == [FILE]
    assert _facts(place) == (ALICE, ALICE, 0o700)


def test_without_the_right_to_give_away(store: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """No CAP_CHOWN: it stays ours, nobody else gets in, and the result names it."""
    place = store.root / "uploads/in/alice"
    place.chmod(0o755)
    store.run(store.plan())

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    monkeypatch.setattr(Arena, "foresee", False)  # nothing is made by a dry run, so nothing is refused
    result = store.restore([FILE])
    assert [one.path for one in result.restored] == [FILE]
    assert _facts(place) == (os.geteuid(), os.getegid(), 0o700)
    assert [path for path, text in result.errors if "EPERM" in text and "0700" in text] == [b"uploads/in/alice"]


def test_it_is_never_wider_on_the_way(store: Arena, stage: Callable[..., Staged]) -> None:
    """From its first moment, in the trash, nobody but us can open it."""
    store.run(store.plan())
    seen: list[int] = []
    trash = store.root / ".indexer/trash"
    stage(
        "mkdir.made",
        lambda _: seen.extend(stat.S_IMODE(path.stat().st_mode) for path in trash.iterdir() if path.is_dir()),
        b"alice",
    )
    store.restore([FILE])
    assert seen == [0o700]
