"""A process that runs the services of one or several stores: signals, threads, and who is told that it is ready."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from indexer.errors import EXIT_INTERRUPTED
from indexer.service.health import restart_would_help
from indexer.service.notify import ALIVE, READY, STOPPING, sd_notify, watchdog_seconds
from indexer.service.serve import serve, service_of
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from indexer.cli.output import Output
    from indexer.service.daemon import Service
    from indexer.store import Store

TURN = 1.0
"""Seconds between two turns of the main thread. A signal usually wakes it at once; one that the kernel gave to another
thread (the main one was just being continued after SIGSTOP) is handled at its next turn, and otherwise never."""

log = logging.getLogger(__name__)


class Host:
    """Runs a service a store, each in a thread of its own; ends when all of them have, or one has failed."""

    def __init__(
        self,
        stores: Sequence[Store],
        backend: str | None,
        on_ready: Callable[[], None],
        *,
        schedule: bool,
        http: str | None = None,
        on_listening: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._options: dict[str, Any] = {"schedule": schedule, "http": http, "on_listening": on_listening}
        self._watchdog = watchdog_seconds()
        self._told = float("-inf")
        self._on_ready = on_ready
        self._lock = threading.Lock()
        self._waiting = len(stores)
        self._stopping = False
        self._failures: list[BaseException] = []
        self._services: list[tuple[Store, Service]] = [
            (store, service_of(store, backend=backend, on_ready=self._one_is_ready)) for store in stores
        ]

    def run(self) -> None:
        """Run them all. Raises the first failure, after the others have ended."""
        threads = [
            threading.Thread(target=self._serve, args=pair, name=f"indexer-{position}")
            for position, pair in enumerate(self._services)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(TURN)
                self._live(time.monotonic())
        if self._failures:
            raise self._failures[0]

    def _live(self, now: float) -> None:
        """Tell the service manager's watchdog, twice as often as it asks, unless a restart would help."""
        patience = self._watchdog
        if patience is None or now - self._told < patience / 2:
            return
        if any(restart_would_help(service) for _, service in self._services):
            return
        self._told = now
        _tell_manager(ALIVE)

    def stop(self) -> None:
        """Let every service end after what has happened so far is in its index."""
        self._stopping = True
        for _, service in self._services:
            service.stop()

    def signalled(self, _number: int, _frame: FrameType | None) -> None:
        """Stop at the first signal, leave at once at the second."""
        if self._stopping:
            os._exit(EXIT_INTERRUPTED)
        self.stop()
        _tell_manager(STOPPING)

    def hung_up(self, _number: int, _frame: FrameType | None) -> None:
        """SIGHUP asks for the configuration to be read again, which happens every second anyway: it must not end us."""
        log.info("a changed configuration is put in force by itself, within a second")

    def _serve(self, store: Store, service: Service) -> None:
        try:
            serve(store, service, **self._options)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self._failures.append(error)
            self.stop()

    def _one_is_ready(self) -> None:
        with self._lock:
            self._waiting -= 1
            if self._waiting == 0:
                self._on_ready()


def host(
    out: Output,
    stores: Sequence[Store],
    *,
    backend: str | None,
    schedule: bool,
    http: str | None,
    on_ready: Callable[[], None],
) -> None:
    """Run the services of `stores` until a signal comes; say `ready` on stderr and to the service manager."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # rows by the ten thousand hold no cycles: 3 % of a storm's time, measured
    _log_to_stderr(verbose=out.verbose)

    def ready() -> None:
        on_ready()
        out.warn("ready")
        _tell_manager(READY)

    running = Host(
        stores, backend, ready, schedule=schedule, http=http, on_listening=lambda where: out.note(f"http: {where}")
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, running.signalled)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, running.hung_up)
    running.run()


def _tell_manager(message: str) -> None:
    """Tell the service manager, if there is one; it may have gone, and that ends no service."""
    try:
        sd_notify(message)
    except OSError as error:
        log.warning("NOTIFY_SOCKET cannot be reached: %s", error.strerror)


class _Escaping(logging.Formatter):
    """File names in a log can upset neither a terminal nor whoever reads it line by line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with everything unprintable escaped, tracebacks line by line."""
        return "\n".join(show_text(line) for line in super().format(record).split("\n"))


def _log_to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Escaping("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
