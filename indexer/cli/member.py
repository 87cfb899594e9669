"""One store of a process that serves several: opened, served, begun anew after a failure or a changed configuration."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import IndexerError
from indexer.service.reload import needing_restart, why
from indexer.service.serve import serve, service_of
from indexer.service.supervise import Backoff
from indexer.units import show_text

if TYPE_CHECKING:
    from indexer.service.daemon import Service
    from indexer.store import Store

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a store that failed is tried again."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A store that is to be served."""

    name: str
    """Its root, or the file that configures it: what the log calls it."""
    open: Callable[[], Store]
    """Raises IndexerError, OSError."""


class Member:
    """Serves one store in a thread of its own."""

    def __init__(
        self,
        opening: Opening,
        *,
        several: bool,
        on_ready: Callable[[Member], None],
        on_failure: Callable[[Member], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """With `several` a failure is not the end: it is logged, and the store tried again.

        `on_end` is called once it is no longer `alive`.
        """
        self.opening = opening
        self.service: Service | None = None
        self.failure: BaseException | None = None
        """What ended it, while it does not run."""
        self.never_ran = True
        self._several = several
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._on_end = on_end
        self._stopping = threading.Event()
        self._anew = threading.Event()
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._thread: threading.Thread | None = None
        self._alive = False
        self._said = ""

    @property
    def name(self) -> str:
        """What the log calls it."""
        return self.opening.name

    @property
    def alive(self) -> bool:
        """It serves, or will."""
        return self._alive

    @property
    def is_ready(self) -> bool:
        """Events flow and the index has every name."""
        service = self.service
        return service is not None and service.board.snapshot.ready

    def start(self, options: Mapping[str, Any]) -> None:
        """Serve; `options` are `backend` and those of `service.serve.serve`."""
        self._thread = threading.Thread(target=self._live, args=(dict(options),), name=f"indexer {self.name}")
        self._alive = True
        self._thread.start()

    def stop(self) -> None:
        """End after what has happened so far is in the index."""
        self._stopping.set()
        if (service := self.service) is not None:
            service.stop()

    def join(self, timeout: float | None) -> None:
        """Wait for its end, at most so long (seconds)."""
        if self._thread is not None:
            self._thread.join(timeout)

    def load_again(self) -> None:
        """Read the configuration again: policy is put in force, all else begins the service anew. Never raises."""
        service = self.service
        if service is None or service.reload is None:
            self._anew.set()  # it waits to be tried again: now
            return
        try:
            store = self.opening.open()
        except (IndexerError, OSError) as error:
            log.error(  # noqa: TRY400 - not a defect
                "the configuration is not valid, what was in force still is: %s",
                why(error),
                extra={"store": self.name},
            )
            service.reload.again()
            service.wake()
            return
        if needs_restart(service.reload.started, store):
            log.info("the configuration has changed: the service begins anew", extra={"store": self.name})
            self._anew.set()
            service.stop()
        else:
            service.reload.again()
            service.wake()

    def state(self) -> dict[str, Any]:
        """Return all that is known of it, for the log."""
        service = self.service
        if service is None:
            return {"state": "stopped", "failure": None if self.failure is None else show_text(str(self.failure))}
        try:
            jobs = service.jobs()
        except (IndexerError, OSError) as error:
            jobs = [{"detail": show_text(str(error))}]
        return {**asdict(service.board.snapshot), "jobs": jobs}

    def _live(self, options: dict[str, Any]) -> None:
        try:
            self._run(options)
        finally:
            self._alive = False
            self._on_end()

    def _run(self, options: dict[str, Any]) -> None:
        backend = options.pop("backend", None)
        while not self._stopping.is_set():
            self._anew.clear()
            try:
                store = self.opening.open()
                self.service = service_of(store, backend=backend, on_ready=self._become_ready)
                if self._stopping.is_set():
                    return
                serve(store, self.service, **options)
            except Exception as error:  # noqa: BLE001 - the edge: raised by the main thread, or logged here
                self.failure = error
                self._on_failure(self)
                if not self._several:
                    return
                self._say(error)
            else:
                if not self._anew.is_set():
                    return  # it was stopped
            finally:
                self.service = None
            if not self._anew.is_set():
                self._pause()

    def _become_ready(self) -> None:
        self.never_ran, self.failure, self._said = False, None, ""
        self._backoff.reset()
        self._on_ready(self)

    def _say(self, error: Exception) -> None:
        """Log a failure once, not at every try; a defect with its trace."""
        text = str(error)
        if text == self._said:
            return
        self._said = text
        trace = None if isinstance(error, (IndexerError, OSError)) else error
        remedy = f" ({error.remedy})" if isinstance(error, IndexerError) and error.remedy else ""
        log.error(
            "this store is not served, and tried again: %s%s",
            why(error),
            show_text(remedy),
            exc_info=trace,
            extra={"store": self.name},
        )

    def _pause(self) -> None:
        left = self._backoff.next()
        while left > 0 and not self._stopping.is_set() and not self._anew.wait(min(left, 0.25)):
            left -= 0.25


def needs_restart(old: Store, new: Store) -> bool:
    """Say whether a changed configuration says more than a policy: where, by what, when, and who may ask."""
    if (old.root, old.state, old.control) != (new.root, new.state, new.control):
        return True
    before, after = old.config, new.config
    if needing_restart(before, after):
        return True
    return (before.store.backend, before.store.filesystems) != (after.store.backend, after.store.filesystems)
