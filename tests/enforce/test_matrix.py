"""Every window of the recipe times every thing that an attacker can do in it: nothing precious goes, nothing is lost.

One test a window; each attack on a store of its own. What an attacker destroys himself is his; all the rest is counted
by content: it is in the tree, or in the trash with its record, or it was the victim and is recorded as destroyed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce import hooks
from tests.enforce.arena import FRAMES, NOW, UPLOADS, Arena, digest
from tests.exchange import exchange

JOB = b"uploads/job"
VICTIMS = (JOB + b"/a", JOB + b"/b", b"uploads/job/deep/c")
"""Removed in this order of directories; `a` is the one that is attacked."""
PRECIOUS = ("precious/file", "precious/inside/a", "other/job/a", "elsewhere/a", "elsewhere/b")
SKIPPED = {
    *("send.before", "send.after"),  # the desktop's trash, and
    *("child.staged", "child.decided", "directory.renamed", "directory.checked"),  # what goes in one piece, and
    *("archive.synced", "archive.written"),  # old runs have tests of their own
}


class _Attacker:
    """Does one thing, once, in one window; whatever is not there any more is not there for him either."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self.held: list[int] = []

    def swap(self, one: bytes, other: bytes) -> None:
        """Exchange two names below the root."""
        fd = os.open(self.root, os.O_PATH)
        try:
            exchange(fd, one, fd, other)
        finally:
            os.close(fd)

    def path(self, *parts: bytes) -> bytes:
        return os.path.join(self.root, *parts)

    def leaf_for_file(self) -> None:
        self.swap(VICTIMS[0], b"precious/file")

    def leaf_for_symlink(self) -> None:
        os.symlink("../../precious/file", self.path(b"precious/link"))
        self.swap(VICTIMS[0], b"precious/link")

    def leaf_for_hard_link(self) -> None:
        os.link(self.path(b"precious/file"), self.path(b"precious/hard"))
        self.swap(VICTIMS[0], b"precious/hard")

    def leaf_for_directory(self) -> None:
        self.swap(VICTIMS[0], b"precious/inside")

    def leaf_for_fifo(self) -> None:
        os.mkfifo(self.path(b"precious/fifo"))
        self.swap(VICTIMS[0], b"precious/fifo")

    def leaf_replaced(self) -> None:
        os.rename(self.path(b"precious/file"), self.path(VICTIMS[0] + b".new"))
        os.rename(self.path(VICTIMS[0]), self.path(b"precious/was"))
        os.rename(self.path(VICTIMS[0] + b".new"), self.path(VICTIMS[0]))

    def leaf_taken_away(self) -> None:
        os.rename(self.path(VICTIMS[0]), self.path(b"precious/taken"))

    def leaf_has_another_name(self) -> None:
        os.link(self.path(VICTIMS[0]), self.path(b"precious/second"))

    def leaf_opened(self) -> None:
        self.held.append(os.open(self.path(VICTIMS[0]), os.O_RDONLY | os.O_NONBLOCK))

    def leaf_written(self) -> None:
        self.held.append(os.open(self.path(VICTIMS[0]), os.O_WRONLY | os.O_NONBLOCK))
        os.write(self.held[-1], b"I am " + VICTIMS[0])  # the same again: a writer whose work must not be lost

    def name_taken(self) -> None:
        fd = os.open(self.path(VICTIMS[0]), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        os.write(fd, b"newcomer")
        os.close(fd)

    def parent_exchanged(self) -> None:
        self.swap(JOB, b"elsewhere")

    def parent_for_symlink(self) -> None:
        os.rename(self.path(JOB), self.path(b"uploads/aside"))
        os.symlink("../elsewhere", self.path(JOB))

    def parent_to_another_class(self) -> None:
        os.rename(self.path(JOB), self.path(b"other/moved"))

    def parent_locked(self) -> None:
        self.held.append(os.open(self.path(JOB), os.O_RDONLY))
        fcntl.flock(self.held[-1], fcntl.LOCK_SH)

    def class_exchanged(self) -> None:
        self.swap(b"uploads", b"other")

    def newcomer_beside(self) -> None:
        os.close(os.open(self.path(JOB, b"late"), os.O_WRONLY | os.O_CREAT, 0o644))


ATTACKS = [name for name in vars(_Attacker) if name.startswith(("leaf_", "name_", "parent_", "class_", "newcomer_"))]


def _at(
    window: str, strike: Callable[[], None], before: str | None = None, first: Callable[[], None] | None = None
) -> Any:
    """Return a hook that strikes once in `window`, and does something else first in the window `before`."""
    struck: list[str] = []

    def at(here: str, _name: bytes = b"") -> None:
        if here == before and first is not None and before not in struck:
            struck.append(before)
            first()
        elif here == window and window not in struck:
            struck.append(window)
            strike()

    at.struck = struck  # type: ignore[attr-defined]
    return at


def _scene(window: str, attack: str, root: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> bool:
    """Play one attack in one window; assert the promise; True when the window was passed."""
    arena = _arena(root)
    for path in (*VICTIMS, *PRECIOUS):
        arena.write(path)
    made = Counter(arena.contents().values())
    attacker = _Attacker(root)

    def strike() -> None:
        with suppress(OSError):
            getattr(attacker, attack)()

    kind = window.partition(".")[0]
    if kind in {"restore", "mkdir", "purge"}:
        assert arena.run(arena.plan(*VICTIMS, action="trash")).files_removed == len(VICTIMS)
        shutil.rmtree(root / "uploads", ignore_errors=True)
    elif kind == "recover":
        arena.close()
        _killed_after_a_rename(root, action)
        arena = _arena(root)
    first = (lambda: attacker.swap(VICTIMS[1], b"precious/file")) if kind == "back" else None
    hook = _at(window, strike, "rename.before", first)
    monkeypatch.setattr(hooks, "at", hook)
    if kind in {"restore", "mkdir"}:
        arena.restore([b""])
    elif kind == "purge":
        arena.now = NOW + 10**8
        arena.purge()
    else:
        arena.run(arena.plan(*(path for path in VICTIMS if os.path.lexists(attacker.path(path))), action=action))
    monkeypatch.setattr(hooks, "at", lambda *_: None)
    for fd in attacker.held:
        os.close(fd)
    _holds(arena, made, f"{attack} in {window}, {action}")
    arena.close()
    shutil.rmtree(root)
    return window in hook.struck


def _arena(root: Path) -> Arena:
    return Arena(root, rules=(replace(UPLOADS, remove_empty_dirs=True), FRAMES))


def _killed_after_a_rename(root: Path, action: str) -> None:
    """Remove in a process that ends when its first file lies in the trash."""
    child = os.fork()
    if child == 0:
        try:
            hooks.at = _at("rename.after", lambda: os._exit(0))
            arena = _arena(root)
            arena.run(arena.plan(*VICTIMS, action=action))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _holds(arena: Arena, made: Counter[str], what: str) -> None:
    """Assert that all is there that is not recorded as destroyed, and that only victims are."""
    there = Counter(arena.contents().values())
    own = {digest(b"I am " + path): path for path in VICTIMS}
    lost = made - there
    assert set(lost) <= set(own), what
    outcomes: dict[bytes, set[str | None]] = {}
    for run in range(1, 4):
        for action in arena.ledger.actions(run):
            outcomes.setdefault(action.path, set()).add(action.outcome)
    for content in lost:
        assert outcomes[own[content]] & {"deleted", "purged"}, what
    recorded = {action.trash_name for action in arena.ledger.trash()}
    folder = arena.root / ".indexer/trash"
    assert set(os.listdir(folder) if folder.exists() else ()) == recorded, what
    for action in arena.ledger.trash():
        assert (folder / str(action.trash_name)).lstat().st_ino == action.identity.inode, what
    assert arena.ledger.unfinished() == [], what


@pytest.mark.parametrize("window", [window for window in hooks.WINDOWS if window not in SKIPPED])
def test_every_attack_in_this_window(mount: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, window: str) -> None:
    """Whatever an attacker does in this window, nothing that is precious goes, and the ledger tells the truth."""
    actions = ("trash", "delete")
    if window.startswith("unlink."):
        actions = ("delete", "delete")
    passed, scratch = 0, mount("tmpfs")
    for attack in ATTACKS:
        for number, action in enumerate(actions):
            passed += _scene(window, attack, scratch / f"{attack}-{number}", monkeypatch, action)
    assert passed >= len(ATTACKS)
