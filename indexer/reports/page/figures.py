"""What the page shows, as plain values of a bounded size however large the store is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.index.questions import age_histogram
from indexer.reports.reading import open_views
from indexer.reports.tables import Source, expiring, largest, runs, usage
from indexer.units import show_name, show_text

if TYPE_CHECKING:
    from indexer.store import Store

DAY = 86_400
DIRECTORIES = 1_500
"""Directories of the treemap, the largest; what is not drawn is in a rest of its parent."""
CALENDAR = 366
"""Days of the calendar of what expires."""
HISTORY = 400
"""Days of growth."""
AGES = (DAY, 7 * DAY, 30 * DAY, 91 * DAY, 182 * DAY, 365 * DAY, 730 * DAY)
"""Bounds of the age histogram, in seconds."""
LABELS = ("1 day", "1 week", "1 month", "3 months", "6 months", "1 year", "2 years", "older")
"""What each range is called: up to its bound."""


def figures(store: Store, now: int) -> dict[str, Any]:
    """Return all that the page of `store` shows at `now` (Unix seconds). One pass over the file table, for the ages.

    Names are escaped for people already (`show_text`), not for HTML. Raises NotScannedError, IndexDatabaseError.
    """
    with open_views(store, now) as reader:
        source = Source(store, reader, now)
        totals = reader.totals()
        found = {
            "root": show_name(store.root_bytes),
            "now": now,
            "files": totals.files,
            "directories": totals.directories,
            "bytes": totals.bytes,
            "allocated": totals.allocated,
            "usage": usage(source),
            "tree": _tree(reader.connection),
            "ages": list(age_histogram(reader, now, AGES)),
            "labels": list(LABELS),
            "calendar": [
                {"day": row["day"], "class": row["class"], "files": row["files"], "allocated": row["allocated"]}
                for row in expiring(source, within=CALENDAR * DAY, by="day")
                if row["files"]
            ],
            "growth": _growth(reader.connection, now),
            "largest": largest(source),
            "owners": usage(source, by="owner")[:20],
            "runs": runs(source, top=10),
        }
    shown: dict[str, Any] = _shown(found)
    return shown


def _tree(connection: Any) -> dict[str, Any]:
    """Return the largest directories as a tree of {name, value, files, children}; value is what lies in it and below.

    The largest are taken with the shallower first among equals, so that a directory comes after the one above it.
    """
    rows = connection.execute(
        "SELECT path, files, allocated FROM tree WHERE allocated > 0 ORDER BY allocated DESC, depth LIMIT ?",
        (DIRECTORIES,),
    ).fetchall()
    nodes: dict[str, dict[str, Any]] = {"": {"name": ".", "value": 0, "files": 0, "children": []}}
    for path, files, allocated in rows:
        if not path:
            nodes[""].update(value=allocated, files=files)
            continue
        above, _, name = path.rpartition("/")
        if path in nodes or above not in nodes:  # an escaped name may read like another one
            continue
        nodes[path] = {"name": name, "value": allocated, "files": files, "children": []}
        nodes[above]["children"].append(nodes[path])
    for node in nodes.values():
        rest = node["value"] - sum(child["value"] for child in node["children"])
        if node["children"] and rest > 0:
            files = node["files"] - sum(child["files"] for child in node["children"])
            node["children"].append({"name": "(files, and smaller)", "value": rest, "files": files})
    return nodes[""]


def _growth(connection: Any, now: int) -> list[dict[str, Any]]:
    """Return the last sample of each class and day."""
    rows = connection.execute(
        "SELECT at / 86400 * 86400 AS day, class, allocated, max(at) FROM usage_history WHERE at > ?"
        " GROUP BY day, class ORDER BY day",
        (now - HISTORY * DAY,),
    )
    return [{"day": day, "class": name, "allocated": allocated} for day, name, allocated, _ in rows]


def _shown(value: Any) -> Any:
    """Escape every text for people: controls, newlines, bidirectional marks."""
    if isinstance(value, str):
        return show_text(value)
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value
