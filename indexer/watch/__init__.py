"""Where hints come from: one watcher for each kernel interface, all behind `source.Watcher`.

`FanotifyObserver` is the same kernel interface for watchdog's handlers; it is imported when it is asked for, and
watchdog with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.watch.observer import FanotifyObserver, InotifyObserver

__all__ = ["FanotifyObserver", "InotifyObserver"]


def __getattr__(name: str) -> Any:
    """Import an observer at its first use."""
    if name in __all__:
        from indexer.watch import observer

        return getattr(observer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
