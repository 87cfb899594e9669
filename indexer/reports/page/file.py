"""`report html FILE`: figures, rendered, in the place of what was there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.reports.atomic import replacing
from indexer.reports.page.figures import figures
from indexer.reports.page.render import render

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.store import Store


def write_page(store: Store, target: Path, now: int) -> int:
    """Write the page of `store` at `now` (Unix seconds) to `target`, whole or not at all; return its bytes.

    Raises UsageError, NotScannedError, IndexDatabaseError, FilesystemError.
    """
    page = render(figures(store, now)).encode("utf-8")
    with replacing(target) as temporary:
        temporary.write_bytes(page)
    return len(page)
