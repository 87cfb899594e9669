"""What a thread beside a service's loop is: it begins when it is entered, can be woken, and ends when it is left."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from indexer.store import Store


class Beside(ABC):
    """A thread of a service; a subclass says in `_run` what it does until `_stop` is set."""

    _leave_after: float | None = None
    """Seconds after which whoever leaves no longer waits for it; None: it is waited for."""

    def __init__(self, store: Store, name: str) -> None:
        """`name` is the thread's."""
        self._store = store
        self._stop = threading.Event()
        self._poked = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end what it has in hand, and wait for that."""
        self._stop.set()
        self._poked.set()
        self._thread.join(self._leave_after)

    def poke(self) -> None:
        """Say that there may be something to do."""
        self._poked.set()

    def adopt(self, store: Store) -> None:
        """From now on by this store's configuration, which may be another one."""
        self._store = store
        self._poked.set()

    @abstractmethod
    def _run(self) -> None:
        """Work until `_stop` is set; `_poked` is set as well then, so that waiting for it ends."""
