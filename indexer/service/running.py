"""Whether a service runs for a store: asked by every command, so it costs one stat where none does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.store import Store

SOCKET = "control.sock"
"""Name of a store's socket in its control directory."""


def service_running(store: Store) -> bool:
    """Say whether a service answers at the store's socket now (it may be degraded; a mere scan does not answer)."""
    try:
        os.stat(store.socket or store.control / SOCKET)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # not ours to look at, perhaps: to connect tells
    from indexer.service.client import is_answered

    return is_answered(store)
