"""Words and figures as people read them: sizes, shares, ages, bars; and tables that fit the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.cli.output import Cell, Column
from indexer.units import format_duration, format_size, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Table = tuple["Sequence[str | Column]", list[list[object]]]

BAR = 10
"""Characters of a full bar."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"
NEARLY = 0.9
"""Share of a limit from which on a bar warns."""


def size(value: int | None) -> str:
    """Return bytes as people read them; nothing for None."""
    return "" if value is None else format_size(value)


def bar(share: float) -> str:
    """Return a share (0 to 1) as a bar, to an eighth of a character; what is not nothing is still seen."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR * 8)
    whole, rest = divmod(max(eighths, 1) if share > 0 else 0, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def gauge(share: float) -> Cell:
    """Return how much of a limit is used as a bar: green, yellow when it is nearly reached, red beyond."""
    return Cell(bar(share), "red" if share >= 1 else "yellow" if share >= NEARLY else "green")


def age(at: int | None, now: int) -> str:
    """Return how long ago something was, to two units."""
    return "" if at is None else span(now - at)


def distance(at: int | None, now: int) -> str:
    """Return how far away a moment is: `in 3d`, `2h5m ago`, `now`; nothing for None."""
    if at is None:
        return ""
    if at == now:
        return "now"
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def when(at: int | None, now: int) -> str:
    """Return a moment with its distance: `2026-11-25T13:00:00Z (in 3d)`; a dash for never."""
    return "-" if at is None else f"{format_time(at)} ({distance(at, now)})"


def span(seconds: int) -> str:
    """Return a duration in its two largest units: `3d4h`, not `3d4h12m7s`."""
    for unit, smaller in ((86_400, 3_600), (3_600, 60)):
        if abs(seconds) >= unit:
            return format_duration(seconds - seconds % smaller)
    return format_duration(seconds)


def fit(drawn: Table, width: int, drop: Iterable[int]) -> Table:
    """Leave columns out, in the order of their places in `drop`, until the table fits into `width` characters.

    Nothing is lost by it: --json, --csv and a pipe have them all.
    """
    columns, rows = drawn
    titles = [column.title if isinstance(column, Column) else column for column in columns]
    keep = list(range(len(titles)))
    widths = [max([len(titles[place]), *(len(str(row[place] or "")) for row in rows)]) for place in keep]
    for place in drop:
        if sum(widths[kept] + 3 for kept in keep) - 3 <= width:
            break
        keep.remove(place)
    return [columns[place] for place in keep], [[row[place] for place in keep] for row in rows]


def columns_of(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[Column]:
    """Return the columns of a query's answer: figures to the right."""
    return [
        Column(name, right=bool(rows) and all(isinstance(row[place], int | float | None) for row in rows))
        for place, name in enumerate(names)
    ]
