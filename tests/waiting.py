"""Wait for something to become so, with a deadline and without guessing how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0
STEP = 0.02


def until(look: Callable[[], T], what: str = "it", patience: float = PATIENCE) -> T:
    """Return what `look` returns as soon as that is true; it never becoming so is a failure that says `what`."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {patience:g} s, but {found!r}"
        pause.wait(STEP)
    return found
