"""Idle I/O priority for the work that nobody waits for."""

from __future__ import annotations

import sys
import threading


class IdlePriority:
    """Switches the calling thread between idle and ordinary I/O priority, where the platform knows the difference.

    Only I/O: a thread without privilege may lower its CPU priority but not raise it again, and the same thread also
    applies events. `batches` keeps the CPU share of verification down instead.
    """

    def __init__(self) -> None:
        self._idle = False
        self._usable = sys.platform == "linux"

    def set(self, *, idle: bool) -> None:
        """Make the calling thread's reads and writes wait for everybody else's, or not (ioprio_set(2))."""
        if idle == self._idle or not self._usable:
            return
        import psutil

        try:
            # Linux takes a thread's id where psutil says process.
            thread = psutil.Process(threading.get_native_id())
            thread.ionice(psutil.IOPRIO_CLASS_IDLE if idle else psutil.IOPRIO_CLASS_NONE)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            self._usable = False  # a container may forbid it: then everything runs at ordinary priority
            return
        self._idle = idle
