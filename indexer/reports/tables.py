"""The tables for people: what is used, what goes soon, what is large. Each is a list of plain rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from indexer.errors import UsageError
from indexer.index import questions
from indexer.index.questions import By
from indexer.reports.drift import SAMPLE, drift_rows
from indexer.reports.growth import WINDOW, growth_rows
from indexer.reports.holdings import holdings
from indexer.reports.reading import directory_below, open_ledger, open_views
from indexer.reports.stale import UNUSED, stale_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from indexer.index.queries import Reader
    from indexer.store import Store

Row = dict[str, Any]

_FLAGS = {"class_name": "--class"}
DAY = 86_400
WEEK = 7 * DAY
TOP = 20


def report(store: Store, name: str, now: int, **options: Any) -> list[Row]:
    """Return the rows of the report `name` at `now` (Unix seconds).

    Options: `under` (bytes, relative to the root) and `class_name` narrow it, `top` is how many rows at most. For
    `expiring`: `within` (seconds) and `by` (class, child, owner, day); for `usage`: `by` (class, child, owner); for
    `stale`: `within` (seconds without use) and `by` (class, child, owner). `drift` compares about `top` files,
    `growth` looks back `within` seconds.
    Raises UsageError for an unknown report or option, NotScannedError, IndexDatabaseError, LedgerError.
    """
    make = REPORTS.get(name)
    if make is None:
        raise UsageError(f"there is no report {name!r}", remedy=f"known: {', '.join(REPORTS)}")
    given = {key: value for key, value in options.items() if value is not None and value != b""}
    unknown = given.keys() - (make.__kwdefaults__ or {}).keys()
    if unknown:
        raise UsageError(
            f"`report {name}` takes no {', '.join(sorted(_FLAGS.get(key, f'--{key}') for key in unknown))}",
            remedy="see `indexer report --help`",
        )
    if (class_name := given.get("class_name")) is not None:
        known = [rule.name for rule in store.config.classes]
        if class_name not in known:
            raise UsageError(f"there is no class {class_name!r}", remedy=f"classes: {', '.join(known) or 'none'}")
    with open_views(store, now) as reader:
        return make(Source(store, reader, now), **given)


@dataclass(frozen=True, slots=True)
class Source:
    """What a report is made from."""

    store: Store
    reader: Reader
    now: int
    """Unix seconds."""


def usage(source: Source, *, under: bytes = b"", by: str = "class", class_name: str | None = None) -> list[Row]:
    """Return one row a class in the order of the configuration, then files in no class, then the trash.

    `share` is the part (0 to 1) of all allocated bytes shown; `oldest` and `newest` are clocks, for the whole store.
    """
    if by in {"child", "owner"}:
        return _usage_by(source.reader, by, under, class_name)
    if by != "class":
        raise UsageError(f"what is used cannot be shown by {by!r}", remedy="by class, child or owner")
    found = {row["class"]: row for row in _rows(source.reader, "SELECT * FROM usage_by_class")}
    if under:
        below = questions.usage_below(source.reader, directory_below(source.reader, under) or 1)
        for name, row in found.items():
            row["files"], row["bytes"], row["allocated"] = below.get(name, (0, 0, 0))
            row["oldest"] = row["newest"] = None
    rules = {rule.name: rule for rule in source.store.config.classes}
    order = {name: number for number, name in enumerate(rules)}
    rows = sorted(
        found.values(), key=lambda row: (row["class"] is None, order.get(row["class"], len(order)), row["class"])
    )
    rows = [row for row in rows if row["files"] or row["class"] in rules]
    if class_name is not None:
        rows = [row for row in rows if row["class"] == class_name]
    total = sum(row["allocated"] for row in rows)
    for row in rows:
        rule = rules.get(row["class"])
        row["ttl"] = None if rule is None else rule.ttl
        row["share"] = row["allocated"] / total if total else 0.0
        row["trash"] = False
    if not under and class_name is None:
        rows += _trash(source.store)
    return rows


def _trash(store: Store) -> list[Row]:
    """Return the trash as a row of its own: it counts in no class, and in no share."""
    ledger = open_ledger(store)
    if ledger is None:
        return []
    with ledger:
        files, allocated = ledger.trash_totals()
    nothing = dict.fromkeys(("class", "tier", "oldest", "newest", "quota_high", "quota_low", "ttl", "share"))
    return [{**nothing, "files": files, "bytes": None, "allocated": allocated, "trash": True}] if files else []


def _usage_by(reader: Reader, by: str, under: bytes, class_name: str | None) -> list[Row]:
    if under:
        raise UsageError(f"usage by {by} is for the whole store", remedy="leave --under out, or use --by class")
    if by == "owner":
        if class_name is not None:
            raise UsageError("usage by owner is for all classes", remedy="leave --class out")
        return _rows(reader, "SELECT * FROM usage_by_owner ORDER BY allocated DESC, uid")
    return _rows(
        reader,
        "SELECT * FROM usage_by_child WHERE :class IS NULL OR class = :class ORDER BY allocated DESC, class, child",
        {"class": class_name},
    )


def tiers(source: Source, *, top: int = TOP) -> list[Row]:
    """Return one row a tier, the largest first."""
    return _rows(source.reader, "SELECT * FROM usage_by_tier ORDER BY allocated DESC, tier LIMIT :top", {"top": top})


def quotas(source: Source, *, class_name: str | None = None, top: int | None = None) -> list[Row]:
    """Return what each class with a quota, or each of its children, holds of it; the fullest first.

    `used` is the larger share (1.0 = full) of bytes and files, from the counters; `thrash` how many files of the class
    were taken for room and made again within `[ledger] thrash`.
    """
    rules = [rule for rule in source.store.config.classes if class_name in {None, rule.name}]
    again: dict[str | None, int] = {}
    if (ledger := open_ledger(source.store)) is not None:
        with ledger:
            again = ledger.thrash(source.now - source.store.config.ledger.thrash)
    held = [holding.as_json() for holding in holdings(source.reader, rules)]
    rows = [{**row, "thrash": again.get(row["class"], 0)} for row in held]
    return sorted(rows, key=lambda row: (-row["used"], row["class"], row["child"] or ""))[:top]


def expiring(
    source: Source,
    *,
    within: int = WEEK,
    by: By | None = None,
    under: bytes = b"",
    class_name: str | None = None,
    top: int | None = None,
) -> list[Row]:
    """Return what is due now or `within` so many seconds, the soonest first; with `by`, sums, the largest first.

    By day it is a calendar: a day on which nothing goes is a row of zeros, of no class.
    """
    if by is not None and by not in get_args(By):
        raise UsageError(f"what expires cannot be shown by {by!r}", remedy=f"by {', '.join(get_args(By))}")
    below = directory_below(source.reader, under)
    before = source.now + within
    calendar = by == "day"
    rows = questions.expiring(
        source.reader, before=before, class_name=class_name, below=below, by=by, top=None if calendar else top
    )
    return _calendar(rows, source.now, before)[:top] if calendar else list(rows)


def _calendar(rows: Iterable[Row], now: int, before: int) -> list[Row]:
    """Return sums by day, in order, with those days from now on that have none."""
    found = list(rows)
    nothing = {"class": None, "files": 0, "bytes": 0, "allocated": 0, "first": None}
    days = {row["day"] for row in found}
    first = now // DAY * DAY
    found += [{"day": day, **nothing} for day in range(first, before, DAY) if day not in days]
    return sorted(found, key=lambda row: (row["day"], row["class"] or ""))


def largest(
    source: Source, *, by: str | None = None, top: int = TOP, under: bytes = b"", class_name: str | None = None
) -> list[Row]:
    """Return the files with the most allocated bytes; with `by`, the classes, children or owners that have most."""
    if by is not None:
        rows = usage(source, by=by, under=under, class_name=class_name)
        kept = [row for row in rows if not row.get("trash")]
        return sorted(kept, key=lambda row: row["allocated"], reverse=True)[:top]
    return list(
        questions.largest(source.reader, top=top, class_name=class_name, below=directory_below(source.reader, under))
    )


def stale(
    source: Source,
    *,
    within: int = UNUSED,
    by: By | None = None,
    under: bytes = b"",
    class_name: str | None = None,
    top: int | None = None,
) -> list[Row]:
    """Return what nobody has used `within` so many seconds, the largest first; with `by`, sums."""
    return stale_rows(source.reader, source.now, within=within, by=by, under=under, class_name=class_name, top=top)


def drift(source: Source, *, top: int = SAMPLE) -> list[Row]:
    """Return how many of about `top` files, chosen by chance, differ from the tree, one row a kind of difference."""
    return drift_rows(source.store, source.reader, top=top)


def growth(source: Source, *, within: int = WINDOW, class_name: str | None = None) -> list[Row]:
    """Return bytes in and out of each class a day, and when its quota or the disk is full at this rate."""
    return growth_rows(source.store, source.reader, source.now, within=within, class_name=class_name)


def runs(source: Source, *, top: int = TOP) -> list[Row]:
    """Return the last runs, the latest first."""
    return _rows(source.reader, "SELECT * FROM runs ORDER BY id DESC LIMIT :top", {"top": top})


def holds(source: Source, *, top: int = -1) -> list[Row]:
    """Return the holds in force, by path."""
    return _rows(source.reader, "SELECT * FROM holds ORDER BY path LIMIT :top", {"top": top})


def _rows(reader: Reader, query: str, values: dict[str, Any] | None = None) -> list[Row]:
    cursor = reader.connection.execute(query, values or {})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


REPORTS: dict[str, Callable[..., list[Row]]] = {
    "usage": usage,
    "tiers": tiers,
    "quotas": quotas,
    "expiring": expiring,
    "largest": largest,
    "stale": stale,
    "growth": growth,
    "drift": drift,
    "runs": runs,
    "holds": holds,
}
