"""A process of an application that is the store's service, or waits to become it when the one that is dies."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Self

from indexer.errors import BusyError, IndexerError
from indexer.manager import StorageManager
from indexer.service.health import health_from_outside, health_of
from indexer.service.serve import serve, service_of
from indexer.units import show_text

if TYPE_CHECKING:
    import os

    from indexer.service.daemon import Service
    from indexer.service.health import Health

log = logging.getLogger(__name__)

TAKEOVER = 1.0
"""Seconds between two looks at whether the store is without a service."""
RETRY = 10.0
"""Seconds after a service that failed."""


class Worker:
    """One of an application's processes. The first that holds the store's lock is the service, the others its clients.

    The kernel gives the lock back when its holder dies, however that happens; then one of the others takes over.
    """

    def __init__(self, store: str | os.PathLike[str], *, schedule: bool = True, scheduler: Any = None) -> None:
        """Raises what `StorageManager` raises. `schedule` False leaves cleanup to somebody else.

        `scheduler` is an APScheduler of the application's that the store's schedule joins while this is the service.
        """
        self.manager = StorageManager(store)
        self._schedule = schedule
        self._scheduler = scheduler
        self._stopping = threading.Event()
        self._service: Service | None = None
        self._thread = threading.Thread(target=self._run, name="indexer-worker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the service, if this is it, after what has happened so far is in the index."""
        self._stopping.set()
        if (service := self._service) is not None:
            service.stop()
        self._thread.join()

    @property
    def is_service(self) -> bool:
        """This process is the store's service now."""
        service = self._service
        return service is not None and service.board.snapshot.started > 0

    def health(self) -> Health:
        """Return (HTTP status, document), whichever process is the service."""
        service = self._service
        if service is not None and self.is_service:
            return health_of(service)
        return health_from_outside(self.manager.store)

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = TAKEOVER
            service = self._service = service_of(self.manager.store)
            try:
                if not self._stopping.is_set():
                    serve(self.manager.store, service, schedule=self._schedule, scheduler=self._scheduler)
            except BusyError:
                pass  # another process is the service; this one is its client
            except (IndexerError, OSError) as error:
                log.warning("the service of the store ended: %s", show_text(str(error)))
                pause = RETRY
            except Exception:
                log.exception("the service of the store ended")  # the application lives on, and says 503
                pause = RETRY
            finally:
                self._service = None
            self._stopping.wait(pause)
