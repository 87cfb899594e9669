"""The figures as one HTML file: charts by ECharts, which travels inside it, and tables that need no script."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from indexer.reports.page.figures import DAY
from indexer.units import count, format_duration, format_size, format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HERE = files("indexer.reports.page")


def render(figures: dict[str, Any]) -> str:
    """Return the page. No name can become markup or script.

    Texts of the tables are escaped for HTML. The charts' data is JSON in an element that is no script, with `<` written
    as an escape, so that nothing in it can end the element. And the page's policy runs the two scripts by their
    hashes and no other, and loads nothing.
    """
    library = (_HERE / "vendor" / "echarts.min.js").read_text(encoding="utf-8")
    program = (_HERE / "page.js").read_text(encoding="utf-8")
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {_hash(library)} {_hash(program)}"
    now = figures["now"]
    stored = f"{count(figures['files'])} in {count(figures['directories'], 'directory', 'directories')}"
    facts = f"{stored}, as of <time>{format_time(now)}</time>"
    head = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(figures['root'])}: storage report</title><style>{style}</style></head><body>",
        f"<header><h1>{escape(figures['root'])}</h1><p>{facts}</p>{_tiles(figures)}</header><main>",
    ]
    body = [
        _section("Classes", _usage(figures["usage"])),
        _chart("Where the space is", "tree", "The largest directories; click to go in. Area: bytes on disk."),
        _chart("Age", "ages", "Bytes on disk by how long ago they were last used (up to 1 day, 1 week, …), and tier."),
        _chart("What expires, by day", "calendar", "Bytes on disk that reach their time; past days are due now."),
        _chart("Growth", "growth", "Bytes on disk of each class, as sampled by the service."),
        _section("Largest files", _table(_LARGEST, figures["largest"])),
        _section("Owners", _table(_OWNERS, figures["owners"])),
        _section("Last runs", _table(_RUNS, figures["runs"])),
    ]
    data = {key: figures[key] for key in ("now", "root", "tree", "ages", "labels", "calendar", "growth")}
    data["classes"] = [row["class"] for row in figures["usage"] if not row["trash"]]
    foot = [
        "</main><footer>Made by indexer. Charts: Apache ECharts, Apache License 2.0.</footer>",
        f'<script type="application/json" id="data">{_json(data)}</script>',
        f"<script>{library}</script><script>{program}</script></body></html>",
    ]
    return "\n".join([*head, *body, *foot]) + "\n"


def _tiles(figures: dict[str, Any]) -> str:
    """Return what a reader wants to know first: how much there is, what goes, what could come back."""
    today = figures["now"] // DAY * DAY
    trash = next((row for row in figures["usage"] if row["trash"]), {"files": 0, "allocated": 0})
    tiles = [
        ("On disk", figures["allocated"], f"{format_size(figures['bytes'])} apparent"),
        ("Due by tonight", *_due(figures["calendar"], today)),
        ("Due within a week", *_due(figures["calendar"], today + 7 * DAY)),
        ("In the trash", trash["allocated"], count(trash["files"])),
    ]
    shown = (f"<div><dt>{name}</dt><dd>{_size(size)}<small>{more}</small></dd></div>" for name, size, more in tiles)
    return f'<dl class="tiles">{"".join(shown)}</dl>'


def _due(calendar: Iterable[dict[str, Any]], last: int) -> tuple[int, str]:
    """Return the bytes and files that have reached their time at the end of the day that begins at `last`."""
    rows = [row for row in calendar if row["day"] <= last]
    return sum(row["allocated"] for row in rows), count(sum(row["files"] for row in rows))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(data: object) -> str:
    """Return JSON that may stand inside of an element: ASCII only, and no character that HTML reads."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _chart(title: str, name: str, about: str) -> str:
    return (
        f'<section><h2>{title}</h2><p class="about">{about}</p>'
        f'<div class="chart" id="{name}" role="img" aria-label="{title}"></div></section>'
    )


def _size(value: int | None) -> str:
    return "" if value is None else format_size(value)


def _time(value: int | None) -> str:
    return "" if value is None else format_time(value)[:10]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _text(value: object) -> str:
    return "" if value is None else str(value)


_Column = tuple[str, str, "Callable[[Any], str]"]
_LARGEST: tuple[_Column, ...] = (
    ("path", "Path", _text),
    ("allocated", "On disk", _size),
    ("class", "Class", _text),
    ("uid", "Owner", _text),
    ("used_at", "Last use", _time),
    ("expires_at", "Expires", _time),
)
_OWNERS: tuple[_Column, ...] = (("uid", "Owner", _text), ("files", "Files", _number), ("allocated", "On disk", _size))
_RUNS: tuple[_Column, ...] = (
    ("id", "Run", _text),
    ("started", "Started", _time),
    ("kind", "Kind", _text),
    ("files_removed", "Files removed", _number),
    ("bytes_freed", "Freed", _size),
    ("bytes_trashed", "In the trash", _size),
    ("refused", "Refused", _text),
)
_LEFT = frozenset({"path", "class", "kind", "refused", "tier"})


def _table(columns: Sequence[_Column], rows: Iterable[dict[str, Any]]) -> str:
    """Return a table, or nothing when there are no rows."""
    lines = ["".join(_cell(key, show(row.get(key))) for key, _, show in columns) for row in rows]
    if not lines:
        return ""
    heads = "".join(f"<th{_align(key)}>{title}</th>" for key, title, _ in columns)
    return f"<table><thead><tr>{heads}</tr></thead><tbody><tr>{'</tr><tr>'.join(lines)}</tr></tbody></table>"


def _cell(key: str, text: str) -> str:
    return f"<td{_align(key)}>{escape(text)}</td>"


def _align(key: str) -> str:
    return "" if key in _LEFT else ' class="right"'


def _usage(rows: Sequence[dict[str, Any]]) -> str:
    """Return usage by class, with a bar for the share of each."""
    columns: tuple[_Column, ...] = (
        ("class", "Class", _text),
        ("tier", "Tier", _text),
        ("files", "Files", _number),
        ("allocated", "On disk", _size),
        ("ttl", "Time to live", lambda ttl: "" if ttl is None else format_duration(ttl)),
        ("quota_high", "Quota", _size),
    )
    quotas = any(row["quota_high"] is not None for row in rows)
    columns = columns if quotas else columns[:-1]
    heads = "".join(f"<th{_align(key)}>{title}</th>" for key, title, _ in columns) + "<th>Share of all</th>"
    lines = []
    for row in rows:
        named = {**row, "class": "(trash)" if row["trash"] else row["class"] or "(no class)"}
        cells = "".join(_cell(key, show(named[key])) for key, _, show in columns)
        lines.append(f"<tr>{cells}{_share(row)}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _share(row: dict[str, Any]) -> str:
    """Return the cell that draws a class's share; red where the class holds more than its quota."""
    if row["share"] is None:
        return "<td></td>"
    over = " over" if row["quota_high"] is not None and row["allocated"] > row["quota_high"] else ""
    track = f'<span class="track"><span class="bar" style="width:{100 * row["share"]:.2f}%"></span></span>'
    return f'<td class="share{over}">{track}{100 * row["share"]:.1f} %</td>'
