"""Ctrl-C and SIGTERM during a run: the batch in flight is finished and recorded, then the run ends."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Stop:
    """Whether the run should end: somebody said so, or a signal came."""

    def __init__(self, asked: Callable[[], bool] | None = None) -> None:
        self._asked = asked
        self.signalled = False

    def __call__(self) -> bool:
        """True when no further file may be begun."""
        return self.signalled or (self._asked is not None and self._asked())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into this flag while the block runs.

        Only the main thread can (elsewhere Python never raises KeyboardInterrupt), and only signals that nobody
        handles otherwise: an application's own handlers stay, and the service passes a flag of its own.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        taken = {number: default for number, default in wanted.items() if signal.getsignal(number) is default}
        for number in taken:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.signalled = True
