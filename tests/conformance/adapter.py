"""A pytest plugin for watchdog's own tests: they then test an emitter of ours.

Loaded by name into a pytest of its own, whose `tests` package is watchdog's; CONFORMANCE says `Fanotify` or `Inotify`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import pytest

from indexer.watch import observer

PATIENCE = 0.3
"""Seconds after which no further event is expected: watchdog's own emitter needs 2, it holds half renames back."""

NAME = os.environ["CONFORMANCE"]
PLACE = tempfile.TemporaryDirectory()
EMITTER: Any = getattr(observer, f"{NAME}Emitter")


class Anywhere(EMITTER):  # type: ignore[misc]
    """An emitter for tests of the observer that name a path which does not exist: a directory stands in for it."""

    def on_thread_start(self) -> None:
        """Watch something."""
        if os.path.isdir(self.watch.path):
            super().on_thread_start()
            return
        named = self.watch.path
        self.watch.path = PLACE.name
        try:
            super().on_thread_start()
        finally:
            self.watch.path = named


def pytest_collection_modifyitems() -> None:
    """Once their modules are imported, put ours in place of watchdog's."""
    ours = {
        "tests.utils": {"Emitter": EMITTER, "InotifyFullEmitter": getattr(observer, f"{NAME}FullEmitter")},
        "tests.test_observer": {"EventEmitter": Anywhere},
        "tests.test_observers_api": {"EventEmitter": Anywhere},
        "tests.test_inotify_emitter": {"InotifyObserver": getattr(observer, f"{NAME}Observer")},
    }
    for module, names in ours.items():
        for name, value in names.items():
            setattr(sys.modules[module], name, value)
    utils: Any = sys.modules["tests.utils"]
    utils._EventsChecker.check_events.__defaults__ = (PATIENCE,)


@pytest.fixture(scope="session", autouse=True)
def _inotify_instance() -> None:
    """Watchdog's shared reader is not needed."""
