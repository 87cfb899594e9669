"""Which watcher a store gets, and why: asked of the kernel, not guessed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indexer.watch.source import Watcher

BACKENDS = ("auto", "fanotify", "inotify", "native", "poll")

CHOSEN = "chosen in the configuration or on the command line"


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend, and the reason for people."""

    name: str
    reason: str


def choose_backend(root: Path, filesystems: Sequence[str] = (), wanted: str = "auto") -> Choice:
    """Return the best backend that works for `root` and the store's other `filesystems` (paths relative to it).

    Raises UsageError when `wanted` names a backend that is unknown or cannot work here, OSError when the root cannot
    be opened.
    """
    if wanted not in BACKENDS:
        raise UsageError(f"there is no backend {wanted!r}", remedy=f"use one of {', '.join(BACKENDS)}")
    if wanted in {"native", "poll"}:
        return Choice(wanted, CHOSEN)
    obstacles: list[str] = []
    for name, why_not, reason in _PREFERRED:
        if wanted not in {"auto", name}:
            continue
        obstacle = why_not(root, filesystems)
        if obstacle is None:
            return Choice(name, "; ".join([*obstacles, reason if wanted == "auto" else CHOSEN]))
        obstacles.append(f"no {name}: {obstacle}")
    if wanted == "auto":  # on Linux watchdog's own observer needs inotify just as well
        return Choice("poll" if sys.platform == "linux" else "native", "; ".join(obstacles))
    raise UsageError(f"this backend does not work here: {obstacles[0]}", remedy="use backend auto")


def _no_fanotify(root: Path, filesystems: Sequence[str]) -> str | None:
    """Say what stands against one mark for each filesystem, None when nothing does."""
    if sys.platform != "linux":
        return f"{sys.platform} has none"
    from indexer.watch.fanotify import probe

    for path in (root, *(root / name for name in filesystems)):
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            obstacle = probe(directory)
        finally:
            os.close(directory)
        if obstacle is not None:
            return obstacle
    return None


def _no_inotify(root: Path, _filesystems: Sequence[str]) -> str | None:
    """Say what stands against a watch on each directory, None when nothing does."""
    if sys.platform != "linux":
        return f"{sys.platform} has none"
    from indexer.watch.inotify import probe

    return probe(os.fsencode(root))


_PREFERRED = (
    ("fanotify", _no_fanotify, "one mark covers the whole filesystem; kernel, capability and filesystem allow it"),
    ("inotify", _no_inotify, "a watch on each directory"),
)


def make_watcher(
    choice: Choice,
    root: Path,
    control: Path,
    mounts: list[int],
    *,
    clock: Callable[[], float],
    ignore_readers: Sequence[str] = (),
    access_resolution: float = 0.0,
) -> Watcher:
    """Return the chosen watcher, not yet started. `mounts` are descriptors of the store's filesystems, open as long."""
    if choice.name == "fanotify":
        from indexer.watch.fanotify import FanotifyWatcher

        return FanotifyWatcher(
            mounts,
            clock=clock,
            reason=choice.reason,
            ignore_readers=ignore_readers,
            access_resolution=access_resolution,
        )
    if choice.name == "inotify":
        from indexer.watch.inotify import InotifyWatcher

        return InotifyWatcher(clock=clock, reason=choice.reason, access_resolution=access_resolution)
    if choice.name == "poll":
        from indexer.watch.poll import PollWatcher

        return PollWatcher(clock=clock, reason=choice.reason)
    from indexer.watch.native import NativeWatcher

    return NativeWatcher(root, control, clock=clock, reason=choice.reason)
