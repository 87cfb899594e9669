"""Each report as a table for people: which columns it has there, and which of them a narrow terminal does without.

`--json` and `--csv` have the plain values of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from indexer.cli.output import Cell, Column
from indexer.cli.report_columns import Row, Shown, ago, class_, moment, number, owned, plain, rate, sized, text
from indexer.cli.words import NEARLY, age, bar, distance, fit, gauge, span, when
from indexer.units import format_duration, format_time

if TYPE_CHECKING:
    from indexer.cli.words import Table


def report_table(name: str, rows: Iterable[Row], now: int, *, width: int | None) -> Table:
    """Return the rows of the report `name` as a table, for a terminal of `width` characters; None: no terminal."""
    rows = list(rows)
    columns = [column for column in _columns(name, rows) if width is not None or not column.drawn]
    body = [[column.make(row, now) for column in columns] for row in rows]
    table: Table = [Column(column.title, right=column.right) for column in columns], body
    if width is None:
        return table
    order = sorted((column.drop, place) for place, column in enumerate(columns) if column.drop)
    return fit(table, width, [place for _, place in order])


def _columns(name: str, rows: list[Row]) -> list[Shown]:
    if name == "usage" and rows and "share" in rows[0]:
        return _usage(rows)
    if name in {"usage", "expiring", "stale", "tiers", "largest"} and rows and "path" not in rows[0]:
        return _sums(rows)
    if name == "quotas" and any(row.get("thrash") for row in rows):
        return [*_QUOTAS, _THRASH]
    return _REPORTS.get(name) or [plain(key) for key in (rows[0] if rows else ())]


def _usage(rows: list[Row]) -> list[Shown]:
    quotas = any(row["quota_high"] is not None for row in rows)
    return [
        Shown("class", _usage_class),
        text("tier", drop=3),
        number("files"),
        sized("bytes", "size", drop=2),
        sized("allocated", "on disk"),
        Shown("share", lambda row, _now: "" if row["share"] is None else f"{row['share']:.1%}", right=True, drop=7),
        Shown("", lambda row, _now: Cell(bar(row["share"] or 0.0), "cyan"), drop=4, drawn=True),
        Shown("ttl", lambda row, _now: "" if row["ttl"] is None else format_duration(row["ttl"]), right=True, drop=5),
        Shown("oldest", lambda row, now: age(row["oldest"], now), right=True, drop=1),
        *([sized("quota_high", "quota", drop=6)] if quotas else []),
    ]


def _usage_class(row: Row, _now: int) -> str:
    if row["trash"]:
        return "(trash)"
    return "(no class)" if row["class"] is None else str(row["class"])


def _class_of_sum(row: Row, _now: int) -> str:
    """A day on which nothing goes has no class."""
    return str(row["class"]) if row["class"] is not None else "(no class)" if row["files"] else ""


def _sums(rows: list[Row]) -> list[Shown]:
    """Sums by whatever they are sums by, each against the largest."""
    most = max((row["allocated"] or 0 for row in rows), default=0) or 1
    total = sum(row["allocated"] or 0 for row in rows) or 1
    by: dict[str, Shown] = {
        "day": Shown("day", lambda row, _now: format_time(row["day"])[:10]),
        "class": Shown("class", _class_of_sum),
        "child": Shown("child", lambda row, _now: row["child"] or ""),
        "tier": Shown("tier", lambda row, _now: "(no class)" if row["tier"] is None else row["tier"]),
        "uid": owned(0),
    }
    rest: dict[str, Shown] = {
        "files": number("files"),
        "bytes": sized("bytes", "size", drop=1),
        "allocated": sized("allocated", "on disk"),
    }
    after: dict[str, Shown] = {
        "first": Shown("first expires", lambda row, now: when(row["first"], now), drop=4),
        "used_at": ago("used_at", "last used", drop=4),
    }
    if any(row.get("quota_high") is not None for row in rows):
        after["quota_high"] = sized("quota_high", "quota", drop=5)
    share = Shown("share", lambda row, _now: f"{(row['allocated'] or 0) / total:.1%}", right=True, drop=2)
    drawn = Shown("", lambda row, _now: Cell(bar((row["allocated"] or 0) / most), "cyan"), drop=3, drawn=True)
    known = rows[0]
    return [
        *(column for key, column in by.items() if key in known),
        *(column for key, column in rest.items() if key in known),
        share,
        drawn,
        *(column for key, column in after.items() if key in known),
    ]


def _over(row: Row, _now: int) -> Cell:
    if row["over"]:
        return Cell("over, evicts" if row["evicts"] else "over, only warns", "red")
    if row["used"] >= NEARLY:
        return Cell("nearly full", "yellow")
    return Cell("" if row["evicts"] else "only warns")


_QUOTAS = [
    class_(),
    Shown("child", lambda row, _now: row["child"] or ""),
    number("files", drop=3),
    sized("allocated", "on disk"),
    sized("quota_high", "quota"),
    sized("quota_low", "down to", drop=1),
    number("quota_files", "files at most", drop=2),
    Shown("used", lambda row, _now: f"{row['used']:.1%}", right=True),
    Shown("", lambda row, _now: gauge(row["used"]), drop=4, drawn=True),
    Shown("state", _over),
]
_THRASH = Shown("made again", lambda row, _now: f"{row['thrash']:,}" if row["thrash"] else "", right=True, drop=5)
"""Shown where there is any."""


def _filled(row: Row, _now: int) -> Cell:
    return gauge((row["allocated"] or 0) / row["limit"]) if row["limit"] else Cell("")


def _full(row: Row, now: int) -> Cell:
    at = row["full_at"]
    if at is None:
        return Cell("")
    soon = at - now < 7 * 86_400
    return Cell("full" if at <= now else f"{format_time(at)[:10]} ({distance(at, now)})", "red" if soon else "")


def _grown(row: Row, _now: int) -> str:
    if row["what"] != "disk":
        return row["class"] or "(no class)"
    return "(disk)" if row.get("filesystem") in {None, "."} else f"(disk of {row['filesystem']})"


_GROWTH = [
    Shown("of", _grown),
    sized("allocated", "on disk"),
    rate("in_per_day", "in a day", drop=2),
    rate("out_per_day", "out a day", drop=3),
    rate("net_per_day", "net a day", drop=0),
    sized("limit", "limit", drop=4),
    Shown("", _filled, drop=1, drawn=True),
    Shown("full", _full),
]

_DRIFT = [
    Shown("difference", lambda row, _now: Cell(row["difference"], "red" if row["files"] else "")),
    number("files"),
    number("checked"),
    Shown("share", lambda row, _now: f"{row['share']:.2%}", right=True, drop=2),
    text("meaning", drop=1),
    text("example"),
]

_RUNS = [
    number("id"),
    moment("started", "started"),
    Shown(
        "took",
        lambda row, _now: "…" if row["finished"] is None else span(row["finished"] - row["started"]),
        right=True,
        drop=4,
    ),
    text("kind"),
    text("trigger", drop=5),
    text("user", drop=3),
    text("mode", drop=2),
    Shown("policy", lambda row, _now: (row["policy"] or "")[:12], drop=1),
    number("files_removed", "removed"),
    sized("bytes_freed", "freed"),
    sized("bytes_trashed", "to the trash"),
    Shown("refused", lambda row, _now: Cell(row["refused"] or "", "red")),
]

_HOLDS = [
    Shown("path", lambda row, _now: row["path"] or "."),
    Shown("until", lambda row, now: "released" if row["until"] is None else when(row["until"], now)),
    text("reason"),
    text("by"),
]

_EXPIRING = [
    text("path"),
    class_(drop=4),
    sized("bytes", "size", drop=1),
    sized("allocated", "on disk"),
    owned(drop=2),
    moment("expires_at", "expires", drop=3),
    ago("expires_at", "due"),
]

_FILES = [
    text("path"),
    class_(drop=5),
    sized("bytes", "size", drop=2),
    sized("allocated", "on disk"),
    owned(drop=3),
    ago("mtime", "changed", drop=1),
    ago("used_at", "last used", drop=6),
]

_REPORTS: dict[str, list[Shown]] = {
    "quotas": _QUOTAS,
    "growth": _GROWTH,
    "drift": _DRIFT,
    "runs": _RUNS,
    "holds": _HOLDS,
    "expiring": _EXPIRING,
    "largest": [*_FILES, ago("expires_at", "due", drop=4)],
    "stale": _FILES,
}
