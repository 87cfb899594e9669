"""What reports, queries and explanations look like to people: plain values in, columns and lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.cli.output import Column
from indexer.policy.reasons import Blocker, Guard
from indexer.units import format_duration, format_size, format_time, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Table = tuple["Sequence[str | Column]", list[list[object]]]

BAR = 8
"""Characters of a full bar."""
_SIZES = frozenset({"bytes", "allocated", "bytes_freed", "bytes_trashed", "quota_high", "quota_low", "size", "limit"})
_RATES = frozenset({"in_per_day", "out_per_day", "net_per_day"})
_TIMES = frozenset({"oldest", "newest", "expires_at", "first", "mtime", "used_at", "started", "finished", "until"})
_RIGHT = _SIZES | _RATES | {"files", "uid", "id", "files_removed", "depth"}


USAGE_DROPS = ("", "oldest", "size", "tier", "ttl", "quota", "share")
TABLE_DROPS = (
    "",
    "meaning",
    "owner",
    "used at",
    "mtime",
    "size",
    "links",
    "class",
    "policy",
    "mode",
    "trigger",
    "user",
)


def usage_table(rows: Iterable[dict[str, Any]], now: int, *, bars: bool) -> Table:
    """Return usage by class as a table; `bars` draws each class's share, for those who see it at a glance."""
    rows = list(rows)
    quotas = any(row["quota_high"] is not None for row in rows)
    columns: list[str | Column] = ["class", "tier", Column("files", right=True), Column("size", right=True)]
    columns += [Column("on disk", right=True), Column("share", right=True)]
    columns += ([""] if bars else []) + [Column("ttl", right=True), Column("oldest", right=True)]
    columns += [Column("quota", right=True)] if quotas else []
    body: list[list[object]] = []
    for row in rows:
        share = row["share"]
        cells: list[object] = [_class(row), row["tier"], f"{row['files']:,}", size(row["bytes"])]
        cells += [size(row["allocated"]), "" if share is None else f"{share:.1%}"]
        cells += [bar(share or 0.0)] if bars else []
        cells += ["" if row["ttl"] is None else format_duration(row["ttl"]), age(row["oldest"], now)]
        cells += [size(row["quota_high"])] if quotas else []
        body.append(cells)
    return columns, body


def _class(row: dict[str, Any]) -> str:
    if row["trash"]:
        return "(trash)"
    return "(no class)" if row["class"] is None else str(row["class"])


def table(rows: Iterable[dict[str, Any]], now: int, *, bars: bool = False) -> Table:
    """Return any report as a table: sizes and times as people read them, everything else as it is.

    `bars` draws, where the rows are sums, what each takes up against the largest.
    """
    rows = list(rows)
    names = list(rows[0]) if rows else []
    columns: list[str | Column] = [
        Column(_TITLES.get(name, name.replace("_", " ")), right=name in _RIGHT) for name in names
    ]
    body = [[cell(name, row[name], now) for name in names] for row in rows]
    most = max((row["allocated"] or 0 for row in rows if "allocated" in row and "files" in row), default=0)
    if bars and most and len(rows) > 1:
        place = names.index("allocated") + 1
        columns.insert(place, "")
        for row, cells in zip(rows, body, strict=True):
            cells.insert(place, bar((row["allocated"] or 0) / most))
    return columns, body


_TITLES = {"bytes": "size", "allocated": "on disk", "expires_at": "expires", "first": "first expires", "uid": "owner"}


def cell(name: str, value: object, now: int) -> object:
    """Return one value of the column `name` as people read it."""
    if value is None:
        return "(no class)" if name == "class" else ""
    if name in _SIZES and isinstance(value, int):
        return size(value)
    if name in _RATES and isinstance(value, int):
        return f"-{size(-value)}" if value < 0 else size(value)
    if name in {"expires_at", "first", "until", "full_at"} and isinstance(value, int):
        return when(value, now)
    if name == "day" and isinstance(value, int):
        return format_time(value)[:10]
    if name in _TIMES and isinstance(value, int):
        return format_time(value)
    if name == "policy" and isinstance(value, str):
        return value[:12]
    if name == "share" and isinstance(value, float):
        return f"{value:.2%}"
    if name in {"files", "files_removed", "checked"} and isinstance(value, int):
        return f"{value:,}"
    return value


def size(value: int | None) -> str:
    """Return bytes as people read them; nothing for None."""
    return "" if value is None else format_size(value)


def bar(share: float) -> str:
    """Return a share (0 to 1) as a bar; the smallest share that is not nothing is still seen."""
    blocks = round(min(max(share, 0.0), 1.0) * BAR)
    return "█" * (max(blocks, 1) if share > 0 else 0)


def age(at: int | None, now: int) -> str:
    """Return how long ago something was, to two units."""
    return "" if at is None else span(now - at)


def when(at: int | None, now: int) -> str:
    """Return a moment with its distance: `2026-11-25T13:00:00Z (in 3d)`; a dash for never."""
    if at is None:
        return "-"
    return f"{format_time(at)} ({f'in {span(at - now)}' if at >= now else f'{span(now - at)} ago'})"


def span(seconds: int) -> str:
    """Return a duration in its two largest units: `3d4h`, not `3d4h12m7s`."""
    for unit, smaller in ((86_400, 3_600), (3_600, 60)):
        if abs(seconds) >= unit:
            return format_duration(seconds - seconds % smaller)
    return format_duration(seconds)


def fit(drawn: Table, width: int, drop: Iterable[str]) -> Table:
    """Leave columns out, in the order of the titles in `drop`, until the table fits into `width` characters.

    Nothing is lost by it: --json, --csv and a pipe have them all.
    """
    columns, rows = drawn
    titles = [column.title if isinstance(column, Column) else column for column in columns]
    keep = list(range(len(titles)))
    widths = [max([len(titles[place]), *(len(str(row[place] or "")) for row in rows)]) for place in keep]
    for title in drop:
        if sum(widths[place] + 3 for place in keep) - 3 <= width:
            break
        keep = [place for place in keep if titles[place] != title]
    return [columns[place] for place in keep], [[row[place] for place in keep] for row in rows]


def columns_of(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[Column]:
    """Return the columns of a query's answer: figures to the right."""
    return [
        Column(name, right=bool(rows) and all(isinstance(row[place], int | float | None) for row in rows))
        for place, name in enumerate(names)
    ]


# ------------------------------------------------------------------------------------------------- explain


def explain_lines(found: dict[str, Any], now: int) -> Iterator[str]:
    """Yield the lines of an explanation: the path, then what is known of it, the answer last."""
    yield show_text(found["path"]) or "."
    for label, text in _facts(found, now):
        yield f"  {label:<11}{show_text(text)}"


def _facts(found: dict[str, Any], now: int) -> Iterator[tuple[str, str]]:
    kind, rule, removed = found["kind"], found["rule"], found["removed"]
    if kind == "directory":
        yield "contains", f"{count(found['files'])}, {format_size(found['bytes'])}"
    elif kind is not None:
        yield kind, f"{format_size(found['bytes'])}, {format_size(found['allocated'])} on disk, owner {found['uid']}"
    yield "class", "none" if rule is None else f"{rule['class']} (tier {found['tier']}): {_rule(rule)}"
    if found["clock_at"] is not None:
        clocks = ", ".join(f"{name} {format_time(at)}" for name, at in found["clocks"].items())
        yield "clock", f"{format_time(found['clock_at'])}, {span(now - found['clock_at'])} ago; youngest of {clocks}"
    if found["expires_at"] is not None:
        yield "expires", when(found["expires_at"], now)
    if removed is not None:
        yield from _removed(removed, now)
    if kind not in {None, "directory"} or (found["blockers"] and removed is None):
        yield from _verdict(found["blockers"])


def count(files: int) -> str:
    """Return how many files, in words."""
    return f"{files:,} file" if files == 1 else f"{files:,} files"


def _rule(rule: dict[str, Any]) -> str:
    if rule["ttl"] is None:
        return f"{', '.join(rule['match'])}, kept forever"
    floor = ", not before its arrival" if rule["arrival_floor"] else ""
    return (
        f"{', '.join(rule['match'])}, {rule['action']} {format_duration(rule['ttl'])} after"
        f" {' and '.join(rule['clock'])}{floor}"
    )


def _verdict(blockers: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not blockers:
        yield "verdict", "due: the next run takes it, if nobody has it open"
    for number, word in enumerate(blockers):
        yield "" if number else "stays", f"{word}: {_MEANINGS.get(word, '')}".removesuffix(": ")


_MEANINGS = {str(word): word.meaning for kind in (Blocker, Guard) for word in kind}


def _removed(removed: dict[str, Any], now: int) -> Iterator[tuple[str, str]]:
    rule = removed["rule"]
    at = "" if removed["at"] is None else f" {when(removed['at'], now)}"
    yield "removed", f"{removed['outcome']}{at}, {format_size(removed['bytes'])}, by run {removed['run']}"
    why = f"class {rule['class']}, {removed['reason']}"
    if rule["expires_at"] is not None:
        why += f" since {format_time(rule['expires_at'])} (ttl {format_duration(rule['ttl'])})"
    yield "why", why
    who = f"{removed['kind']} by {removed['user']} ({removed['trigger']})"
    yield "policy", f"{(removed['policy'] or '')[:12]}, {who}"
    if removed["restorable_until"] is not None:
        yield "restorable", f"until {when(removed['restorable_until'], now)}"
    if removed["restored_to"] is not None:
        yield "restored", f"to {removed['restored_to']}"
