"""A process that runs the services of one or several stores: signals, threads, and who is told that it is ready."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from indexer.cli.logs import log_to_stderr
from indexer.cli.member import Member
from indexer.errors import EXIT_INTERRUPTED, IndexerError
from indexer.service.health import restart_would_help
from indexer.service.sd_notify import ALIVE, READY, STOPPING, reloading, sd_notify, watchdog_seconds
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from indexer.cli.member import Opening
    from indexer.cli.output import Output

TURN = 30.0
"""Seconds between two turns of the main thread when nothing calls it: a signal, or the end of a service."""

log = logging.getLogger(__name__)


class Host:
    """Runs a service a store, each in a thread of its own.

    A single one ends with what ended it. Of several, one that fails is begun anew with growing pauses, and the others
    go on; it is ready once each has become so or has failed. `again` says on SIGHUP which stores there are to be now.
    """

    def __init__(
        self,
        openings: Sequence[Opening],
        on_ready: Callable[[], None],
        *,
        again: Callable[[], Sequence[Opening]] | None = None,
        **options: Any,
    ) -> None:
        """`options` are those of `Member.serve`. `again` makes it several, however many there are now."""
        self._options = options
        self._again = again
        self._several = again is not None or len(openings) > 1
        self._watchdog = watchdog_seconds()
        self._told = float("-inf")
        self._turn_seconds = TURN if self._watchdog is None else min(TURN, self._watchdog / 8)
        self._call: socket.socket | None = None
        self._on_ready = on_ready
        self._lock = threading.RLock()  # a signal handler may interrupt who holds it
        self._stopping = False
        self._reload = self._dump = False
        self._members = [self._member(opening) for opening in openings]
        self._waiting = {member.name for member in self._members}

    def _member(self, opening: Opening) -> Member:
        return Member(
            opening, several=self._several, on_ready=self._is_ready, on_failure=self._has_failed, on_end=self._wake
        )

    def run(self) -> None:
        """Run them all until each has ended. Raises the failure of a single one, or of the first if none ever ran."""
        self._called, self._call = socket.socketpair()
        self._called.setblocking(False)
        self._call.setblocking(False)
        # The kernel may give a signal to any thread (when SIGSTOP was just ended, say). Only the main one handles it,
        # and hears of it in this way.
        before = signal.set_wakeup_fd(self._call.fileno(), warn_on_full_buffer=False)
        try:
            self._run()
        finally:
            signal.set_wakeup_fd(before)
            with self._lock:
                self._called.close()
                self._call.close()
                self._call = None

    def _run(self) -> None:
        for member in self._members:
            member.start(self._options)
        if not self._members:
            self._on_ready()
        while not self._stopping and (self._again is not None or any(member.alive for member in self._members)):
            self._turn(time.monotonic())
        while any(member.alive for member in self._members):
            self._sleep()
            self._live(time.monotonic())
        for member in self._members:
            member.join(None)
        failed = [member.failure for member in self._members if member.failure is not None]
        if failed and (not self._several or all(member.never_ran for member in self._members)):
            raise failed[0]

    def _turn(self, now: float) -> None:
        self._sleep()
        self._live(now)
        if self._reload:
            self._reload = False
            self._load_again()
        if self._dump:
            self._dump = False
            self.dump()

    def _sleep(self) -> None:
        """Wait for a call, and for the time to tell the watchdog."""
        select.select([self._called], [], [], self._turn_seconds)
        with suppress(BlockingIOError):
            self._called.recv(4096)

    def _wake(self) -> None:
        """Let the main thread take its next turn now; any thread may call."""
        with self._lock, suppress(BlockingIOError):  # it has been called often enough
            if self._call is not None:
                self._call.send(b"w")

    def _live(self, now: float) -> None:
        """Tell the service manager's watchdog, twice as often as it asks, unless a restart would help."""
        patience = self._watchdog
        if patience is None or now - self._told < patience / 2:
            return
        services = [member.service for member in self._members if member.service is not None]
        if any(restart_would_help(service) for service in services):
            return
        self._told = now
        tell_manager(ALIVE)

    def stop(self) -> None:
        """Let every service end after what has happened so far is in its index."""
        self._stopping = True
        for member in self._members:
            member.stop()
        self._wake()

    # Signals

    def signalled(self, _number: int, _frame: FrameType | None) -> None:
        """Stop at the first signal, leave at once at the second."""
        if self._stopping:
            os._exit(EXIT_INTERRUPTED)
        self.stop()
        tell_manager(STOPPING)

    def hung_up(self, _number: int, _frame: FrameType | None) -> None:
        """SIGHUP: read the configuration again, whole, at the next turn."""
        self._reload = True

    def asked(self, _number: int, _frame: FrameType | None) -> None:
        """SIGUSR1: write the state of every store into the log, at the next turn."""
        self._dump = True

    def _load_again(self) -> None:
        """Begin and end services as the configurations say, and let those anew whose change needs it."""
        tell_manager(reloading())
        try:
            openings = list(self._again()) if self._again is not None else [one.opening for one in self._members]
        except (IndexerError, OSError) as error:
            log.error("the configuration was not read again: %s", show_text(str(error)))  # noqa: TRY400 - not a defect
            tell_manager(READY)
            return
        wanted = {opening.name: opening for opening in openings}
        for member in [one for one in self._members if one.name not in wanted]:
            log.info("its configuration is gone: the service ends", extra={"store": member.name})
            member.stop()
            member.join(None)
            self._members.remove(member)
        for member in self._members:
            member.load_again()
        known = {member.name for member in self._members}
        for name, opening in wanted.items():
            if name not in known:
                log.info("a new configuration: the service begins", extra={"store": name})
                member = self._member(opening)
                self._members.append(member)
                member.start(self._options)
        tell_manager(READY)

    def dump(self) -> None:
        """Write what is known of every store and of the process into the log."""
        log.warning("state of the process", extra={"state": _process()})
        for member in self._members:
            log.warning("state of a store", extra={"store": member.name, "state": member.state()})

    # From the members' threads

    def _is_ready(self, member: Member) -> None:
        self._settled(member.name)

    def _has_failed(self, member: Member) -> None:
        hopeless = self._again is None and all(one.never_ran and one.failure is not None for one in self._members)
        if not self._several or hopeless:
            self.stop()
            return
        self._settled(member.name, said=any(one.is_ready for one in self._members))

    def _settled(self, name: str, *, said: bool = True) -> None:
        """Be ready once all are, or have failed; but not while none is."""
        with self._lock:
            if name in self._waiting and (said or len(self._waiting) > 1):
                self._waiting.discard(name)
                if self._waiting:
                    return
            else:
                return
        self._on_ready()


def _process() -> dict[str, Any]:
    import psutil

    own = psutil.Process()
    with own.oneshot():
        found: dict[str, Any] = {"pid": own.pid, "rss_bytes": own.memory_info().rss, "threads": own.num_threads()}
        if hasattr(own, "num_fds"):
            found["descriptors"] = own.num_fds()
    found["names"] = sorted(thread.name for thread in threading.enumerate())
    return found


def host(
    out: Output,
    openings: Sequence[Opening],
    *,
    backend: str | None,
    schedule: bool,
    http: str | None,
    on_ready: Callable[[], None],
    again: Callable[[], Sequence[Opening]] | None = None,
) -> None:
    """Run the services of stores until a signal comes; say `ready` on stderr and to the service manager."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # rows by the ten thousand hold no cycles: 3 % of a storm's time, measured
    log_to_stderr(verbose=out.verbose, quiet=out.quiet)

    def ready() -> None:
        on_ready()
        out.warn("ready")
        tell_manager(READY)

    running = Host(
        openings,
        ready,
        again=again,
        backend=backend,
        schedule=schedule,
        http=http,
        on_listening=lambda where: out.note(f"http: {where}"),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, running.signalled)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, running.hung_up)
        signal.signal(signal.SIGUSR1, running.asked)
    running.run()


def tell_manager(message: str) -> None:
    """Tell the service manager, if there is one; it may have gone, and that ends no service."""
    try:
        sd_notify(message)
    except OSError as error:
        log.warning("NOTIFY_SOCKET cannot be reached: %s", error.strerror)
