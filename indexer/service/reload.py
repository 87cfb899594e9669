"""A changed configuration file is picked up by the running service: read and validated first, then put in force."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from indexer.errors import ConfigError, IndexerError
from indexer.store import open_store
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.config import Config
    from indexer.store import Store


def why(error: Exception) -> str:
    """Return what is wrong in one line, with every problem of a configuration; names are escaped."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    listed = "; ".join(f"{problem['key']} {problem['message']}".strip() for problem in problems)
    return show_text(f"{error}: {listed}" if listed else str(error))


Stamp = tuple[int, int, int, int]
"""(inode, size, mtime in ns, ctime in ns): another one, another content."""
EVERY = 1.0
"""Seconds between two looks."""


OF_THE_SERVICE = ("schedule", "http", "publish", "service")
"""Sections that a service is begun with: a change of them waits until it is begun anew."""


def needing_restart(begun: Config, now: Config) -> list[str]:
    """Return the sections that a service which was begun with one configuration does not take from another."""
    return [name for name in OF_THE_SERVICE if getattr(begun, name) != getattr(now, name)]


class Reload:
    """Watches one configuration file for the writer's loop; `store` is the store by what is in force."""

    def __init__(self, store: Store, on_change: Callable[[Store], None] = lambda _store: None) -> None:
        """`on_change` is called with the store by each new policy, in the writer's thread."""
        self.store = store
        self.started = store
        """By what the service was begun: what is not policy is still so."""
        self.on_change = on_change
        self._next = 0.0
        self._forced = False
        self._stamp = self._look()

    def again(self) -> None:
        """Read the file at the next turn, whether it seems changed or not. Any thread may ask."""
        self._forced = True

    def changed(self, now: float, *, at_once: bool = False) -> Store | str | None:
        """Return the store by a changed configuration, a sentence why the change is not valid, or None.

        `now` is a monotonic time in seconds; `at_once` looks though it did just now (somebody waits). An invalid file
        is complained of once; what was in force stays.
        """
        if (now < self._next and not at_once and not self._forced) or self.store.config.path is None:
            return None
        self._next = now + EVERY
        forced, self._forced = self._forced, False
        stamp = self._look()
        if stamp == self._stamp and not forced:
            return None
        self._stamp = stamp
        try:
            store = open_store(self.store.root, config_path=self.store.config.path)
        except IndexerError as error:
            return why(error)
        except OSError as error:
            return f"{show_text(str(self.store.config.path))}: {error.strerror}"
        return store

    @property
    def waiting(self) -> list[str]:
        """Sections of what is in force that wait until the service is begun anew."""
        return needing_restart(self.started.config, self.store.config)

    def adopt(self, store: Store) -> None:
        """This one is in force now."""
        self.store = store
        self.on_change(store)

    def _look(self) -> Stamp | None:
        if self.store.config.path is None:
            return None
        try:
            found = os.stat(self.store.config.path)
        except OSError:
            return None  # said when it is read; an editor may be about to put the new one there
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
