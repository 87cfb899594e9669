"""Destroyed files are closed in other threads: all of them, nobody else's, and before the run says that it is done."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import pin, reaper, remove
from indexer.enforce.reaper import HANDFUL, PIECE, PIECES, Reaper
from indexer.syscalls.rename import rename_noreplace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.enforce.arena import Arena, Staged

MANY = PIECE * PIECES * 2 + 5


def _open(count: int) -> list[int]:
    return [os.open("/", os.O_PATH) for _ in range(count)]


def _still_open(fds: list[int]) -> list[int]:
    found = []
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found


@pytest.mark.parametrize("count", [0, 1, HANDFUL - 1, HANDFUL, PIECE, PIECE + 1, MANY])
def test_all_of_them_and_nobody_elses(count: int) -> None:
    """What is handed over is closed when the drain returns; descriptors of others between them stay open."""
    fds = _open(count * 2)
    ours, others = fds[::2], fds[1::2]
    with Reaper() as under_test:
        under_test.take(ours)
        assert under_test.drain() == (count >= HANDFUL)
        assert not under_test.drain()
        assert _still_open(fds) == others
        for fd in others:
            os.close(fd)


def test_the_end_waits_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the block closes what is still waiting, and leaves no thread behind."""
    before = threading.active_count()
    gate = threading.Event()
    whole = reaper._close
    monkeypatch.setattr(reaper, "_close", lambda fds: (gate.wait(10), whole(fds)))
    fds = _open(PIECE * PIECES)
    with Reaper() as under_test:
        under_test.take(fds)
        assert _still_open(fds) == fds
        gate.set()
    assert _still_open(fds) == []
    assert threading.active_count() == before


def test_without_threads_it_closes_them_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may have no further thread removes all the same."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    fds = _open(MANY)
    with Reaper() as under_test:
        under_test.take(fds)
        assert _still_open(fds) == []


@pytest.mark.parametrize("action", ["delete", "trash"])
def test_a_run_has_closed_everything_before_it_is_made_durable(
    arena: Arena, stage: Callable[..., Staged], action: str
) -> None:
    """Blocks are back before syncfs, and so before the ledger says `finished`; no descriptor and no thread is left."""
    root = os.fsencode(arena.root)
    for number in range(3 * PIECE + 7):
        arena.write(f"uploads/job-{number % 2}/{number}")

    def held() -> set[bytes]:
        targets = (_target(name) for name in os.listdir("/proc/self/fd"))
        return {path for path in targets if path.startswith(root) and b"-1-" in path}

    at_sync: list[set[bytes]] = []
    stage("sync.before", lambda _: at_sync.append(held()))
    threads = threading.active_count()
    result = arena.run(arena.plan(action=action))
    assert (result.files_removed, result.errors) == (3 * PIECE + 7, ())
    assert at_sync == [set()]
    assert held() == set()
    assert threading.active_count() == threads


def _target(name: str) -> bytes:
    try:
        return os.readlink(os.fsencode(f"/proc/self/fd/{name}"))
    except OSError:
        return b""


def test_what_stays_is_let_go_at_once(
    arena: Arena, stage: Callable[..., Staged], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits to open a file that is put back does not wait for the reaper."""
    monkeypatch.setattr(reaper, "_close", lambda _fds: pytest.fail("a file that stays was handed over"))
    paths = {arena.write(f"uploads/{number}") for number in range(PIECE)}
    plan = arena.plan(action="delete")
    lock = os.open(arena.root / "uploads", os.O_RDONLY)
    stage("rename.after", lambda _: fcntl.flock(lock, fcntl.LOCK_SH))
    result = arena.run(plan)
    os.close(lock)
    assert result.kept == {"locked": PIECE}
    assert arena.tree() == paths


def test_descriptors_run_out_while_some_wait_to_be_closed(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left: what the reaper holds is waited for, and the file is tried again rather than failed."""
    for number in range(4 * PIECE):
        arena.write(f"uploads/{number:04}")
    plan = arena.plan(action="delete")
    gate, whole = threading.Event(), reaper._close
    monkeypatch.setattr(reaper, "_close", lambda fds: (gate.wait(10), whole(fds)))
    opened = 0
    refused: list[bytes] = []
    real = os.open

    def scarce(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nonlocal opened
        if flags == pin._PIN:
            opened += 1
            if opened == PIECE + 1:  # the first of the second piece: nothing is held, all of the first waits
                refused.append(path)
                gate.set()
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", scarce)
    result = arena.run(plan)
    assert len(refused) == 1
    assert (result.files_removed, result.errors) == (4 * PIECE, ())


def test_on_a_full_disk_each_gives_its_room_back_at_once(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a rename finds no room, what waits is closed first, and each file after it before the next is renamed."""
    for number in range(2 * PIECE):
        arena.write(f"uploads/{number:04}")
    plan = arena.plan(action="delete")
    renames: list[bool] = []
    """Of each rename: whether a destroyed file was still open at that moment."""

    def crowded(*arguments: int | bytes) -> None:
        renames.append(_deleted_but_open(arena.root))
        if len(renames) == PIECE + 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename_noreplace(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(remove, "rename_noreplace", crowded)
    result = arena.run(plan)
    assert (result.files_removed, result.errors) == (2 * PIECE, ())
    assert len(renames) == 2 * PIECE + 1
    assert not any(renames[PIECE + 3 :])


def test_a_watermark_is_told_of_what_has_come_free(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """It measures the room as soon as it is told of rows: by then their files are closed, however late that is."""
    for number in range(3 * PIECE):
        arena.write(f"uploads/{number:04}")
    plan = arena.plan(action="delete")
    asked, whole, drain = threading.Event(), reaper._close, Reaper.drain
    monkeypatch.setattr(reaper, "_close", lambda fds: (asked.wait(10), whole(fds)))

    def waiting(self: Reaper) -> bool:
        asked.set()
        return drain(self)

    monkeypatch.setattr(Reaper, "drain", waiting)
    told: list[tuple[int, bool]] = []
    result = arena.run(
        plan, kind="watermark", on_removed=lambda rows: told.append((len(rows), _deleted_but_open(arena.root)))
    )
    assert (result.files_removed, result.errors) == (3 * PIECE, ())
    assert told == [(3 * PIECE, False)]


def _deleted_but_open(root: Path) -> bool:
    targets = [_target(name) for name in os.listdir("/proc/self/fd")]
    return any(target.startswith(os.fsencode(root)) and target.endswith(b" (deleted)") for target in targets)
