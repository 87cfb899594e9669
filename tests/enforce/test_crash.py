"""`kill -9` in every window of a removal, a restore and a purge; then a new start, and the promise.

Every file is where it was, or in the trash with its record, or recorded as gone; and the next run works.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import hooks, reaper
from tests.enforce.arena import NOW, UPLOADS, Arena, Staged, digest
from tests.enforce.promise import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

FILES = {
    b"uploads/a": b"A",
    b"uploads/job/b": b"B",
    b"uploads/job/c": b"C",
    b"frames/job/d": b"D",
    b"frames/job/e": b"E",
}


def _die_at(step: int) -> Callable[..., None]:
    """Return a hook that kills this process in the `step`-th window it stands in."""
    left = step

    def strike(_window: str, _name: bytes = b"") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def _survived(root: Path, step: int, work: Callable[[Arena], object]) -> bool:
    """Do `work` on the store in a child that dies in its `step`-th window; True when it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            hooks.at = _die_at(step)
            arena = Arena(root)
            work(arena)
            os._exit(0)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def _crashes(tmp_path: Path, prepare: Callable[[Arena], None], work: Callable[[Arena], object]) -> Iterator[Arena]:
    """Yield a newly started store for every window that `work` has, after a crash in that window."""
    for step in range(1, 1000):
        root = tmp_path / str(step)
        arena = Arena(root)
        for path, content in FILES.items():
            arena.write(path, content)
        prepare(arena)
        arena.close()
        whole = _survived(root, step, work)
        arena = Arena(root)
        yield arena
        arena.close()
        if whole:
            return
    raise AssertionError("the work never came to its end")


def test_removal_cut_off_anywhere(tmp_path: Path) -> None:
    """A run that dies in any window leaves every file in one of the three states, and the next run does the rest."""
    windows = 0
    for arena in _crashes(tmp_path, lambda _: None, lambda arena: arena.run(arena.plan())):
        windows += 1
        kept(arena, FILES)
        left = arena.tree()
        if left:
            assert arena.run(arena.plan()).files_removed == len(left)
        assert arena.tree() == set()
        assert arena.run(arena.plan()).exit_code == 0
        trashed = {path: digest(content) for path, content in FILES.items() if path.startswith(b"uploads/")}
        arena.restore([b""])
        assert arena.contents() == trashed
    assert windows > 50


_take = reaper.Reaper.take


def _handed_over(self: reaper.Reaper, fds: Sequence[int]) -> None:
    """The run goes no further once the first files wait to be closed."""
    _take(self, fds)
    signal.pause()


def test_killed_while_what_was_destroyed_waits_to_be_closed(tmp_path: Path) -> None:
    """A death between the unlink of files and their last close leaves what the unlink left: gone, and recorded so."""
    root = tmp_path / "store"
    arena = Arena(root)
    for path, content in FILES.items():
        arena.write(path, content)
    arena.close()
    child = os.fork()
    if child == 0:
        try:
            reaper.HANDFUL = 1
            reaper._close = lambda _fds: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
            reaper.Reaper.take = _handed_over  # type: ignore[method-assign]
            arena = Arena(root)
            arena.run(arena.plan(action="delete"))
        finally:
            os._exit(2)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    arena = Arena(root)
    assert len(arena.tree()) < len(FILES)
    kept(arena, FILES)
    assert arena.in_trash() == []
    left = arena.tree()
    assert arena.run(arena.plan(action="delete")).files_removed == len(left) > 0
    arena.close()


def test_restore_cut_off_anywhere(tmp_path: Path) -> None:
    """A restore that dies leaves each file in the trash or in its place; the next restore brings the rest."""

    def prepare(arena: Arena) -> None:
        assert arena.run(arena.plan(action="trash")).directories_removed == 1

    for arena in _crashes(tmp_path, prepare, lambda arena: arena.restore([b""])):
        kept(arena, FILES)
        arena.restore([b""])
        assert {path: found for path, found in arena.contents().items() if path in FILES} == {
            path: digest(content) for path, content in FILES.items()
        }
        assert arena.ledger.trash_totals() == (0, 0)
        assert os.listdir(arena.root / ".indexer/trash") == []


def test_purge_cut_off_anywhere(tmp_path: Path) -> None:
    """A purge that dies leaves what is still there restorable, and records the rest as purged."""
    paths = [path for path in FILES if path.startswith(b"uploads/")]

    def prepare(arena: Arena) -> None:
        arena.run(arena.plan(*paths))

    for arena in _crashes(tmp_path, prepare, lambda arena: arena.purge(everything=True)):
        kept(arena, FILES)
        assert arena.ledger.trash_totals()[0] == len(os.listdir(arena.root / ".indexer/trash"))
        arena.purge(everything=True)
        assert os.listdir(arena.root / ".indexer/trash") == []


def test_recovery_cut_off_anywhere(tmp_path: Path) -> None:
    """A start that dies while it recovers is no different: the next one goes on."""

    def prepare(arena: Arena) -> None:
        arena.close()
        for step in (20, 30):
            _survived(arena.root, step, lambda arena: arena.run(arena.plan()))
        arena.__post_init__()

    for arena in _crashes(tmp_path, prepare, lambda arena: arena.recover()):
        kept(arena, FILES)


def test_what_a_crash_left_in_the_trash_stays_as_long_as_its_class_says(tmp_path: Path) -> None:
    """The intent carries trash_ttl: a recovery, even under another policy, does not shorten the way back."""
    long = dataclasses.replace(UPLOADS, trash_ttl=7 * 86400)
    arena = Arena(tmp_path / "store", rules=(long,))
    arena.write("uploads/a")
    plan = arena.plan()
    arena.close()
    child = os.fork()
    if child == 0:
        try:
            hooks.at = Staged("rename.after", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            Arena(tmp_path / "store", rules=(long,)).run(plan)
        finally:
            os._exit(2)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    arena = Arena(tmp_path / "store", rules=(UPLOADS,))
    assert arena.recover().in_trash == 1
    assert [(one.trash_ttl, one.restorable_until) for one in arena.ledger.trash()] == [(7 * 86400, NOW + 7 * 86400)]
    arena.close()


@pytest.mark.parametrize("outcome", ["trashed", "deleted"])
def test_power_loss_that_undid_the_renames(tmp_path: Path, outcome: str) -> None:
    """Outcomes of a run that never finished are provisional: a file found in its place again is recorded as kept."""
    arena = Arena(tmp_path / "store")
    path = arena.write("uploads/a" if outcome == "trashed" else "frames/a", b"A")
    run = arena.run(arena.plan(path)).run
    arena.write("uploads/again", b"A")
    again = arena.indexed(b"uploads/again", None)
    os.makedirs((arena.root / os.fsdecode(path)).parent, exist_ok=True)
    (arena.root / "uploads/again").rename(arena.root / os.fsdecode(path))
    for name in os.listdir(arena.root / ".indexer/trash"):
        os.unlink(arena.root / ".indexer/trash" / name)
    arena.ledger._connection.execute("UPDATE run SET finished = NULL")
    arena.ledger._connection.execute("UPDATE action SET inode = ?, birth_ns = ?", again.identity)
    arena.recover()

    assert arena.outcomes(run) == {path: ("kept", "rolled_back")}
    assert arena.ledger.trash_totals() == (0, 0)
    assert arena.ledger.removed(path) is None
    arena.close()
