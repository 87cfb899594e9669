"""Idle priority: of the calling thread alone, and never such that it cannot be taken back where it must be."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import psutil
import pytest

from indexer.service import priority
from indexer.service.priority import NICE, IdlePriority
from tests.capabilities import needs
from tests.users import do_as


def in_thread(work: Callable[[], None]) -> None:
    """Do `work` in a thread that ends after; it fails as `work` does."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def seen() -> tuple[int, int]:
    """Return (I/O class, nice) of the calling thread."""
    thread = psutil.Process(threading.get_native_id())
    return int(thread.ionice().ioclass), int(thread.nice())


IDLE, NONE = int(psutil.IOPRIO_CLASS_IDLE), int(psutil.IOPRIO_CLASS_NONE)


@needs("CAP_SYS_ADMIN")
def test_a_writer_gives_both_up_and_takes_both_back() -> None:
    """Idle while it verifies; ordinary at the next event; other threads are not concerned."""
    before = seen()

    def work() -> None:
        own = IdlePriority()
        own.set(idle=True)
        assert seen() == (IDLE, max(NICE, before[1]))
        own.set(idle=False)
        assert seen() == (NONE, before[1])

    in_thread(work)
    assert seen() == before


def test_without_privilege_a_writer_keeps_its_cpu_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not take it back. A thread of removal, which never wants it back, gives it up."""
    monkeypatch.setattr(priority, "can_return", lambda: False)

    nice = seen()[1]

    def writer() -> None:
        IdlePriority().set(idle=True)
        assert seen() == (IDLE, nice)

    def removing() -> None:
        IdlePriority(for_good=True).set(idle=True)
        assert seen() == (IDLE, max(NICE, nice))

    in_thread(writer)
    in_thread(removing)


@needs("CAP_SYS_ADMIN")
def test_whether_it_can_be_taken_back_is_tried() -> None:
    """An ordinary user cannot, root can."""
    priority.can_return.cache_clear()
    assert priority.can_return()

    def work() -> None:
        priority.can_return.cache_clear()
        assert not priority.can_return()

    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, 0)  # whoever is at its lowest already has nothing to give up
    try:
        do_as(65534, work)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
