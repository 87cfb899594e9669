"""A plugin for Datasette, loaded by it (`--plugins-dir`): shows the exact bytes of a name as hexadecimal digits.

Without it Datasette (0.65 and 1.0a41) fails on a page of a view that has a binary value: it would link to the value, by
a row's key that a view does not have.
"""

from __future__ import annotations

from datasette import hookimpl


@hookimpl  # type: ignore[untyped-decorator] # where Datasette is not installed
def render_cell(value: object) -> str | None:
    """Return what a cell shows, None for Datasette's own way."""
    return value.hex() if isinstance(value, bytes) else None
