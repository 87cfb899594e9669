"""What a request carries, before anything is done with it: whoever sends it may be a stranger."""

from __future__ import annotations

import os

from indexer.errors import UsageError
from indexer.units import show_text, text_of

MOST_EXPLAINED = 100
"""Paths of one `explain`: each may cost as much as its child directory has files."""
MOST_HELD = 1000
"""Paths of one `hold` or `release`."""


def path_sent(value: object) -> bytes:
    """Return a path relative to the root (as `os.fsdecode` writes it): clean, and not out of it. Raises UsageError."""
    if not isinstance(value, str) or "\0" in value:
        raise UsageError("a path must be a text without NUL")
    try:
        raw = os.fsencode(value)
    except UnicodeEncodeError as error:  # a surrogate that stands for no byte
        raise UsageError(
            "a path must be a text that stands for bytes", remedy="write it as os.fsdecode does"
        ) from error
    clean = b"" if raw in {b"", b"."} else os.path.normpath(raw)
    if clean.startswith((b"/", b"../")) or clean == b"..":
        raise UsageError(f"{show_text(text_of(raw))} is not relative to the store's root")
    return clean
