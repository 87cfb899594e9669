"""Directories are reached for certain or not at all: without privileges, by path, while things move underneath."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.events import ACCESSED, CHANGED, Batch, Rescan
from indexer.index import reach
from indexer.syscalls import handles
from tests.capabilities import needs
from tests.index.rig import NOW, Rig
from tests.trees import make

NOBODY = 65534


@pytest.fixture(params=[errno.EPERM, errno.ESTALE], ids=["not permitted", "never found"])
def _by_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handles cannot be opened: the capability is missing, or the filesystem does not find by them (FUSE)."""

    def refuse(*_: Any) -> int:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(reach, "open_handle", refuse)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be an unprivileged user, in this process."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.usefixtures("_by_path")
def test_everything_works_by_path(tmp_path: Path) -> None:
    """Create, change, move, replace: slower, and the same."""
    with Rig(tmp_path, {"a": {"b": {"c": {"f": b"1"}}}, "x": {}}) as rig:
        assert rig.wrong() == {}
        make(rig.root, {"a": {"b": {"c": {"g": b"22", "new": {"h": b"333"}}}}})
        rig.changed("a/b/c/g", "a/b/c/new")
        assert rig.wrong() == {}
        (rig.root / "a" / "b").rename(rig.root / "x" / "y")
        (rig.root / "x" / "y" / "c" / "f").write_bytes(b"4444")
        rig.changed("x/y/c/f", "a/b", "x/y")
        assert rig.wrong() == {}
        rig.prove()
        assert rig.quick() <= {b"x/y"}  # its own ctime says that it was moved


@pytest.mark.usefixtures("_by_path")
def test_names_are_never_attributed_to_another_directory_at_the_same_path(tmp_path: Path) -> None:
    """A hint about a directory that has been replaced by another waits until the index knows where it is."""
    with Rig(tmp_path, {"d": {"old": b"1"}}) as rig:
        first = rig.key("d")
        (rig.root / "d").rename(rig.root / "e")
        make(rig.root, {"d": {"trap": b"1"}, "e": {"f": b"22"}})
        rig.apply((first, "f"), (first, "trap"))
        assert rig.paths() == {b"d/old"}
        assert not rig.index.settled
        rig.changed("d", "e")
        assert rig.paths() == {b"d/trap", b"e/old", b"e/f"}
        assert rig.wrong() == {}


@pytest.mark.usefixtures("_by_path")
@pytest.mark.parametrize("patience", [1, 30])
def test_a_postponed_name_outlasts_any_number_of_busy_batches(tmp_path: Path, patience: int) -> None:
    """The reader may be late: as long as the kernel's queue is not empty, the explanation may still come."""
    with Rig(tmp_path, {"p": {"d": {"f": b"1"}}}) as rig:
        key = rig.key("p/d")
        (rig.root / "p" / "d" / "f").write_bytes(b"changed")
        (rig.root / "p").rename(rig.root / "q")
        for _ in range(patience):
            rig.apply((key, "f"), drained=False)
            rig.apply(drained=False)
        rig.changed("p", "q")
        assert rig.wrong() == {}


@pytest.mark.usefixtures("_by_path")
def test_a_postponed_name_outlasts_limbo(tmp_path: Path) -> None:
    """A directory in limbo cannot be reached however often it is tried; its names wait as long as it does."""
    with Rig(tmp_path, {"d": {"f": b"1"}}) as rig:
        key = rig.key("d")
        (rig.root / "d").rename(rig.root / "e")
        rig.apply("d", drained=False)
        (rig.root / "e" / "f").write_bytes(b"changed")
        rig.apply((key, "f"), drained=False)
        rig.index.request_rescan(Rescan(rig.directory(""), tree=False, reason="keeps limbo"))
        for _ in range(30):
            rig.apply()
        rig.changed("e")
        assert rig.wrong() == {}


@pytest.mark.usefixtures("_by_path")
def test_when_no_explanation_comes_the_directory_is_listed(tmp_path: Path) -> None:
    """The event of the rename was lost: after some tries the parent is doubted, and nothing is lost."""
    with Rig(tmp_path, {"p": {"d": {"f": b"1"}}}) as rig:
        key = rig.key("p/d")
        (rig.root / "p" / "d" / "f").write_bytes(b"changed")
        (rig.root / "p" / "d").rename(rig.root / "p" / "e")
        rig.apply((key, "f"))
        rig.settle()
        rig.changed("p/e")
        assert rig.wrong() == {}


@pytest.mark.usefixtures("_by_path")
def test_a_change_is_not_forgotten_for_a_use(tmp_path: Path) -> None:
    """The name that waits was written, then it is read: both count."""
    with Rig(tmp_path, {"d": {"f": b"1"}}) as rig:
        key = rig.key("d")
        (rig.root / "d").rename(rig.root / "e")
        (rig.root / "e" / "f").write_bytes(b"changed")
        rig.apply((key, "f"), drained=False)
        rig.apply((key, "f"), kinds=ACCESSED, drained=False)
        rig.changed("d", "e")
        assert rig.wrong() == {}
        assert rig.file("e/f").used_at == NOW


@pytest.mark.usefixtures("_by_path")
def test_names_that_wait_for_one_directory_add_up(tmp_path: Path) -> None:
    """Hinted names, and other names of a linked file, wait together."""
    with Rig(tmp_path, {"d": {"f": b"1", "linked": b"2"}}) as rig:
        os.link(rig.root / "d" / "linked", rig.root / "other")
        rig.changed("other", "d/linked")
        key = rig.key("d")
        (rig.root / "d").rename(rig.root / "e")
        (rig.root / "e" / "f").write_bytes(b"changed")
        (rig.root / "other").write_bytes(b"changed too")
        rig.apply((key, "f"), "other", drained=False)
        rig.changed("d", "e")
        assert rig.wrong() == {}


def test_a_directory_that_the_kernel_cannot_connect_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open_by_handle_at says ENOMEM for a directory that is just being moved: once more, by path or later."""
    honest = handles.open_handle
    left = [3]

    def flaky(*args: Any) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.ENOMEM, "cannot be connected")
        return honest(*args)

    with Rig(tmp_path, {"d": {"f": b"1"}}) as rig:
        (rig.root / "d" / "f").write_bytes(b"changed")
        monkeypatch.setattr(reach, "open_handle", flaky)
        rig.changed("d/f")
        assert rig.wrong() == {}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_our_own_shortage_is_not_the_tree_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Out of descriptors: the batch fails as a whole and can be tried again."""

    def refuse(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    with Rig(tmp_path, {"d": {"f": b"1"}}) as rig:
        (rig.root / "d" / "f").write_bytes(b"changed")
        monkeypatch.setattr(reach, "open_handle", refuse)
        with pytest.raises(OSError, match=os.strerror(code)):
            rig.apply("d/f")
        monkeypatch.undo()
        rig.changed("d/f")
        assert rig.wrong() == {}
        assert rig.problems() == {}


@needs("CAP_SYS_ADMIN")
def test_an_unreadable_directory_keeps_its_rows_and_is_reported(public_tmp: Path) -> None:
    """An unprivileged user's index: EACCES is not "gone". When it may be read again, it is."""
    make(public_tmp / "root", {"open": {"f": b"1"}, "closed": {"g": b"22", "below": {"h": b"333"}}})
    for path in (public_tmp, public_tmp / "root"):
        os.chown(path, NOBODY, NOBODY)
    with as_nobody(), Rig(public_tmp, {}) as rig:
        assert rig.wrong() == {}
        os.seteuid(0)
        (rig.root / "closed").chmod(0o700)
        (rig.root / "closed" / "g").write_bytes(b"changed unseen")
        os.seteuid(NOBODY)
        rig.changed("closed")
        rig.verify()
        assert rig.paths() == {b"open/f", b"closed/g", b"closed/below/h"}
        assert rig.file("closed/g").size == 2
        assert rig.problems() == {b"closed": errno.EACCES}
        os.seteuid(0)
        (rig.root / "closed").chmod(0o755)
        os.seteuid(NOBODY)
        batch = Batch(rig.now)
        batch.hint(rig.directory("closed"), b".", CHANGED)  # the event of its chmod
        rig.index.apply(batch)
        rig.settle()
        assert (rig.wrong(), rig.problems()) == ({}, {})


@needs("CAP_SYS_ADMIN")
def test_a_directory_that_may_be_listed_but_not_searched(public_tmp: Path) -> None:
    """Readable but not searchable: names are visible, stats are not; rows stay, the directory is reported."""
    make(public_tmp / "root", {"d": {"f": b"1"}})
    for path in (public_tmp, public_tmp / "root"):
        os.chown(path, NOBODY, NOBODY)
    with as_nobody(), Rig(public_tmp, {}) as rig:
        os.seteuid(0)
        (rig.root / "d").chmod(0o744)
        os.seteuid(NOBODY)
        rig.verify()
        assert (rig.paths(), rig.problems()) == ({b"d/f"}, {b"d": errno.EACCES})
