"""Writes what Datasette shows with the published copy: descriptions from the SQL surface, queries of the cookbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from indexer.index.surface import LEDGER_VIEWS, VIEWS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "indexer" / "reports" / "datasette"
BOOK = ROOT / "docs" / "how-to" / "sql-cookbook.md"
DATABASE = "media"
"""Datasette calls a database by its file's name: `media.db`."""
ENTRY = re.compile(r"^### (.+?)\n(.*?)```sql\n(.+?)\n```", re.DOTALL | re.MULTILINE)


def described() -> dict[str, Any]:
    """Return titles and descriptions, of the copy, of each view and of each column."""
    return {
        "title": "Storage index",
        "description": "The published copy of an indexer store. Times are Unix seconds (UTC), sizes bytes.",
        "tables": {
            name: {"description": plain(view.about), "columns": {c: plain(m) for c, m in view.columns.items()}}
            for name, view in {**VIEWS, **LEDGER_VIEWS}.items()
        },
    }


def queries() -> dict[str, Any]:
    """Return the cookbook's queries, by a name that stands in an address."""
    found = ENTRY.findall(BOOK.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"): {"title": title, "description": about.strip(), "sql": sql}
        for title, about, sql in found
    }


def plain(text: str) -> str:
    """Return a sentence without its Markdown."""
    return text.replace("`", "")


def documents() -> dict[str, dict[str, Any]]:
    """Return each file's content: 0.65 has all in its metadata, 1.0 wants queries in its configuration."""
    return {
        "0.65-metadata.json": {"databases": {DATABASE: {**described(), "queries": queries()}}},
        "1.0-metadata.json": {"databases": {DATABASE: described()}},
        "1.0-datasette.json": {"databases": {DATABASE: {"queries": queries()}}},
    }


def text_of(document: dict[str, Any]) -> str:
    """Return a file as it is written."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, document in documents().items():
        (FOLDER / name).write_text(text_of(document), encoding="utf-8")
