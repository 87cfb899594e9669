"""What a run that a crash cut off has left is settled when the service starts, not only at the next run."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from indexer.errors import BusyError, IndexerError
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.store import Store

log = logging.getLogger(__name__)


def settle_unfinished(store: Store, clock: Callable[[], float]) -> int:
    """Bring runs that a crash cut off to their end; return how many. Costs one query where there are none.

    While a run holds the run lock there is nothing to do: it did the same before its first file. A ledger or a root
    that cannot be used is logged and left alone, since the index needs neither.
    """
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.recover import recover_at_start

    if not store.ledger_path.exists():
        return 0
    try:
        with Ledger.open(store.ledger_path, read_only=True) as ledger:
            if not ledger.unfinished():
                return 0
        with ExitStack() as stack:
            stack.enter_context(store.run_lock())
            ledger = stack.enter_context(Ledger.open(store.ledger_path))
            root_fd = store.open_root()
            stack.callback(os.close, root_fd)
            found = recover_at_start(store=store, root_fd=root_fd, ledger=ledger, now=clock)
    except BusyError:
        return 0
    except (IndexerError, OSError) as error:
        log.warning("runs that were cut off are not settled yet: %s", show_text(str(error)))
        return 0
    log.info(
        "%d runs were cut off: %d files put back, %d in the trash, %d gone, %d cannot be looked at yet",
        len(found.runs),
        found.put_back,
        found.in_trash,
        found.unknown,
        len(found.errors),
    )
    return len(found.runs)
