"""`kill -9` before and after every system call of a removal, a restore, a purge and a start; then a new start.

SQLite's own calls are among them, so each statement of the ledger is cut off at every point that a disk can tell apart.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.enforce import hooks
from indexer.rules import Rule
from tests.enforce.arena import FRAMES, UPLOADS, Arena, Staged, digest
from tests.enforce.kill import TRACES, killed_at
from tests.enforce.promise import kept

IN_ONE_PIECE = (
    replace(UPLOADS, remove_empty_dirs=True, whole_directories=True),
    replace(FRAMES, whole_directories=True),
)
FILES = {b"uploads/a": b"A", b"uploads/job/b": b"B", b"frames/job/c": b"C", b"frames/job/d": b"D"}

pytestmark = pytest.mark.skipif(not TRACES, reason="needs ptrace")

Step = Callable[[Arena], object]


def nothing(_: Arena) -> None:
    """Prepare nothing."""


def remove(arena: Arena) -> None:
    """One class into the trash, the other destroyed, its directory after it."""
    arena.run(arena.plan())


def trash(arena: Arena) -> None:
    """Everything into the trash."""
    arena.run(arena.plan(action="trash"))


def restore(arena: Arena) -> None:
    """Everything back."""
    arena.restore([b""])


def purge(arena: Arena) -> None:
    """The trash is emptied."""
    arena.purge(everything=True)


def start(arena: Arena) -> None:
    """Open the ledger, rolling back what was cut off in it, and settle what is unfinished."""
    arena.close()
    arena.__post_init__()
    arena.recover()


def cut_off(step: Step, window: str, name: bytes | None = None, *, first: Step = nothing) -> Step:
    """Return what leaves a store as `step` does that died in `window`."""

    def prepare(arena: Arena) -> None:
        first(arena)
        child = os.fork()
        if child == 0:
            try:
                hooks.at = Staged(window, lambda _: os.kill(os.getpid(), signal.SIGKILL), name)
                step(arena)
            finally:
                os._exit(2)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    return prepare


WORKS: dict[str, tuple[Step, Step, int]] = {
    "delete and trash": (nothing, remove, 150),
    "restore": (trash, restore, 85),
    "purge": (trash, purge, 80),
    "start after a removal before its look": (cut_off(remove, "rename.after", b"d"), start, 40),
    "start after a removal that destroyed": (cut_off(remove, "unlink.after", b"c"), start, 40),
    "start after a removal between two classes": (cut_off(remove, "rename.before", b"b"), start, 40),
    "start after a restore": (cut_off(restore, "restore.after", b"uploads/a", first=trash), start, 40),
    "delete and trash, in one piece": (nothing, remove, 150),
    "start after a directory went in one piece": (cut_off(remove, "directory.renamed", b"job"), start, 40),
    "start after a purge": (cut_off(purge, "purge.after", first=trash), start, 40),
}
"""What happened before, what is killed, and how many points it has at least."""


@pytest.fixture
def scratch(mount: Callable[..., Path]) -> Path:
    """Return a filesystem in memory, all that the works import being there."""
    folder = mount("tmpfs")
    arena = Arena(folder / "warm")  # what Python imports on a first call is no part of the work
    for step in (_fill, trash, restore, remove, purge, start):
        step(arena)
    arena.close()
    return folder


def _fill(arena: Arena) -> None:
    for path, content in FILES.items():
        arena.write(path, content)


def _points(scratch: Path, prepare: Step, work: Step, rules: tuple[Rule, ...]) -> Iterator[Arena]:
    """Yield a newly started store for each point of `work`, after a death there."""
    for point in range(1, 5000):
        root = scratch / str(point)
        arena = Arena(root, rules=rules)
        _fill(arena)
        prepare(arena)
        died = killed_at(point, work, arena)
        arena.close()
        if died:
            arena = Arena(root, rules=rules)
            yield arena
            arena.close()
        shutil.rmtree(root)
        if not died:
            return
    raise AssertionError("the work never came to its end")


@pytest.mark.parametrize("name", WORKS)
def test_killed_anywhere(scratch: Path, name: str) -> None:
    """Whatever was in its place, in the trash or gone is so, and said so, after the next start; and work goes on."""
    prepare, work, least = WORKS[name]
    points = 0
    rules = IN_ONE_PIECE if "one piece" in name else (UPLOADS, FRAMES)
    for arena in _points(scratch, prepare, work, rules):
        points += 1
        kept(arena, FILES)
        gone = _gone(arena)
        arena.restore([b""])
        assert arena.tree() == set(FILES) - gone
        assert {path: found for path, found in arena.contents().items() if path in FILES} == {
            path: digest(content) for path, content in FILES.items() if path not in gone
        }
        if arena.tree():
            assert arena.run(arena.plan(action="trash")).files_removed == len(FILES) - len(gone)
    print(f"{name}: {points} points")  # noqa: T201
    assert points >= least


def test_there_are_enough_points() -> None:
    """Three hundred at least, each another state of the disk; the numbers above are asserted for what is passed."""
    assert sum(least for _, _, least in WORKS.values()) >= 600


def _gone(arena: Arena) -> set[bytes]:
    actions = {path: arena.ledger.removed(path) for path in FILES}
    return {path for path, action in actions.items() if action and action.outcome in {"deleted", "unknown", "purged"}}
