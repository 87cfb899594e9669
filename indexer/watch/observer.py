"""Drop-in observers for watchdog: the same handlers, `schedule` and events, without what its own emitter loses."""

from __future__ import annotations

from watchdog.observers.api import DEFAULT_OBSERVER_TIMEOUT, BaseObserver

from indexer.watch.fanotify_emitter import FanotifyEmitter, FanotifyFullEmitter
from indexer.watch.inotify_emitter import InotifyEmitter, InotifyFullEmitter

__all__ = [
    "FanotifyEmitter",
    "FanotifyFullEmitter",
    "FanotifyObserver",
    "InotifyEmitter",
    "InotifyFullEmitter",
    "InotifyObserver",
]


class FanotifyObserver(BaseObserver):
    """`watchdog.observers.Observer` over fanotify (Linux ≥ 5.9, CAP_SYS_ADMIN).

    `schedule` and `start` raise PermissionError without the capability, and OSError where the filesystem takes no mark
    (EXDEV: btrfs subvolume, EOPNOTSUPP: overlayfs). What is reported differently than by watchdog's own emitter, and
    why, is in docs/explanation/watchdog-conformance.md.
    """

    def __init__(self, *, timeout: float = DEFAULT_OBSERVER_TIMEOUT, generate_full_events: bool = False) -> None:
        """`timeout` (seconds) is how long watchdog's threads wait at a time.

        With `generate_full_events` a rename across the border of a watch has an empty path outside, where it would
        else be told as a creation or deletion.
        """
        super().__init__(FanotifyFullEmitter if generate_full_events else FanotifyEmitter, timeout=timeout)


class InotifyObserver(BaseObserver):
    """The same over an inotify of our own, for those without CAP_SYS_ADMIN."""

    def __init__(self, *, timeout: float = DEFAULT_OBSERVER_TIMEOUT, generate_full_events: bool = False) -> None:
        """See `FanotifyObserver`."""
        super().__init__(InotifyFullEmitter if generate_full_events else InotifyEmitter, timeout=timeout)
