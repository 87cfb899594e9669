"""The real service in a process of its own, made by fork so that thousands of them cost little, and ill-treated.

with Forked(store, "inotify", Wishes()) as service:
    service.kill(); service.start()         # kill -9, and the next life
    service.stop_process(); service.continue_process()
    service.pause_writer(); service.resume_writer()
    service.lose()                          # part of what comes next is dropped, as a queue that overflows does
    service.settle()
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Self

from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index import ahead
from indexer.service import daemon, loop, session, supervise
from indexer.service.client import request
from indexer.service.serve import serve, service_of
from indexer.watch import choose, fanotify, inotify, native
from tests.queues import short_queue

if TYPE_CHECKING:
    from indexer.store import Store
    from indexer.watch.source import Watcher

PATIENCE = 60.0
LOST = 0.7
"""Share of the hints that are dropped in an overflow."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What makes a service of a small tree meet what large ones meet."""

    queue: int = 0
    """Events that an inotify queue holds (0: as the system has it)."""
    pending: int = 400_000
    """Names that wait before they are folded."""
    budget: int = 5_000
    """Names listed in one transaction."""
    walker: bool = False
    """Let a second process list ahead."""


PAUSED, LOSE = 0, 1
"""Places of the flags that parent and child share."""


def ill_treated(watcher: Watcher, flags: mmap.mmap, chance: Random) -> Watcher:
    """Let the writer of this watcher stand still while `PAUSED`, and lose what it takes next once `LOSE` is set.

    What is lost is said, as the kernel does: by an overflow, after all that is missing has happened.
    """
    take = watcher.take

    def lossy(timeout: float | None) -> Batch:
        while flags[PAUSED]:
            time.sleep(0.001)
        batch = take(timeout)
        if flags[LOSE] and batch.hints:
            flags[LOSE] = 0
            for names in batch.hints.values():
                for name in [name for name in names if chance.random() < LOST]:
                    del names[name]
            batch.rescans.append(Rescan(ROOT_ID, tree=True, reason="overflow"))
        return batch

    watcher.take = lossy  # type: ignore[method-assign]
    return watcher


class Forked:
    """A service of `store`; killed at the end if it does not stop by itself."""

    def __init__(self, store: Store, backend: str, wishes: Wishes, seed: int = 0) -> None:
        self.store = store
        self.backend = backend
        self.wishes = wishes
        self.log = store.state / "log"
        self._seed = seed
        self._pid = 0
        self._ready = -1
        self._flags = mmap.mmap(-1, 2)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            self._reap()

    def start(self, *, wait: bool = True) -> None:
        """Begin the next life; return once it is ready (`wait`), else `settle` waits for that."""
        self._ready, told = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until the child has its own handler
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._ready)
            self._be_the_service(told)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.close(told)
        if wait:
            self.await_ready()

    def await_ready(self) -> None:
        """Return once it has said so. Raises AssertionError."""
        if self._ready < 0:
            return
        if not select.select([self._ready], [], [], PATIENCE)[0]:
            raise AssertionError(f"not ready in {PATIENCE:g} s: {self._said()}")
        said = os.read(self._ready, 1)
        self._close_ready()
        if said != b"r":
            raise AssertionError(f"the service ended: {self._said()}")

    def _close_ready(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
        self._ready = -1

    def _be_the_service(self, told: int) -> None:
        """Run the service and leave: nothing of the parent's is to be cleaned up by the child."""
        code = 1
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            faulthandler.enable()
            _run(self.store, self.backend, self.wishes, self._flags, Random(self._seed), lambda: _tell(told))
            code = 0
        except BaseException:  # noqa: BLE001 - shown by the parent, with the log
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _said(self) -> str:
        """Return the end of its log, with where each thread is."""
        if self._pid:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGABRT)  # faulthandler
            self._reap()
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:] if self.log.exists() else ""

    def _signal(self, number: int) -> None:
        os.kill(self._pid, number)

    def _reap(self) -> None:
        pid, self._pid = self._pid, 0
        self._close_ready()
        deadline = time.monotonic() + PATIENCE
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)

    def kill(self) -> None:
        """Kill -9."""
        self._signal(signal.SIGKILL)
        self._reap()

    def stop_process(self) -> None:
        """Let it stand still, the reader of the kernel's queue too."""
        self._signal(signal.SIGSTOP)

    def continue_process(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def pause_writer(self) -> None:
        """Let only the writer stand still."""
        self._flags[PAUSED] = 1

    def resume_writer(self) -> None:
        """Let it go on."""
        self._flags[PAUSED] = 0

    def lose(self) -> None:
        """Lose part of what is taken next."""
        self._flags[LOSE] = 1

    def settle(self, patience: float = PATIENCE) -> None:
        """Wait until all that has happened is in the index. Raises AssertionError."""
        self.await_ready()
        try:
            request(self.store, "settle", patience + 2, timeout=patience)
        except Exception as error:
            raise AssertionError(f"settle: {error}\n{self._said()}") from error

    def status(self) -> dict[str, Any]:
        """Return what the service publishes."""
        return request(self.store, "status", PATIENCE)


def _tell(told: int) -> None:
    try:
        os.write(told, b"r")
    except BrokenPipeError:
        return  # nobody waits for it


def _run(
    store: Store, backend: str, wishes: Wishes, flags: mmap.mmap, chance: Random, on_ready: Callable[[], None]
) -> None:
    """Run one service until SIGTERM."""
    make = choose.make_watcher
    replacement = {"make_watcher": lambda *args, **more: ill_treated(make(*args, **more), flags, chance)}
    vars(session).update(replacement)
    for module in (fanotify, inotify, native):
        module.PENDING_LIMIT = wishes.pending  # type: ignore[attr-defined]
    loop.BUDGET = loop.VERIFY_BUDGET = wishes.budget  # type: ignore[attr-defined]
    supervise.CANARY_PERIOD = 0.3
    daemon.AUDIT_SECONDS = 0.05
    if wishes.walker:
        ahead.WORTH_A_WALKER = -1
    service = service_of(store, backend=backend, on_ready=on_ready)
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    with short_queue(wishes.queue):
        serve(store, service, schedule=False)
