"""What nobody has used for a long time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from indexer.errors import UsageError
from indexer.index import questions
from indexer.index.questions import By
from indexer.reports.reading import directory_below

if TYPE_CHECKING:
    from indexer.index.queries import Reader

UNUSED = 90 * 86_400
"""Seconds without use after which a file is called stale, unless told otherwise."""


def stale_rows(
    reader: Reader,
    now: int,
    *,
    within: int = UNUSED,
    by: By | None = None,
    under: bytes = b"",
    class_name: str | None = None,
    top: int | None = None,
) -> list[dict[str, Any]]:
    """Return the files that were not used `within` so many seconds, the largest first; with `by`, sums.

    Raises UsageError for another `by` than class, child or owner.
    """
    allowed = [word for word in get_args(By) if word != "day"]
    if by is not None and by not in allowed:
        raise UsageError(f"stale cannot be shown by {by!r}", remedy=f"by {', '.join(allowed)}")
    below = directory_below(reader, under)
    return list(questions.stale(reader, before=now - within, class_name=class_name, below=below, by=by, top=top))
