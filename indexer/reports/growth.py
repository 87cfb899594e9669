"""Where usage is going: bytes in and out of each class a day, and when a quota or the disk is full at this rate.

What a class held at the first sample of the window, and what it holds now, gives the difference; what runs removed
since then is known from the ledger and is `out`; the rest has come `in` (less what others have removed).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from indexer.reports.reading import open_ledger
from indexer.store.filesystems import filesystems
from indexer.syscalls.beneath import O_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader
    from indexer.rules import Rule
    from indexer.store import Store

DAY = 86_400
WINDOW = 30 * DAY
LEAST = 3600
"""Seconds of history below which nothing is extrapolated."""
FAR = 10 * 365 * DAY
"""Seconds after which a date says nothing any more."""


def growth_rows(
    store: Store, reader: Reader, now: int, *, within: int = WINDOW, class_name: str | None = None
) -> list[dict[str, Any]]:
    """Return one row a class and one for each filesystem of the store (`what` is class or disk); rates are bytes a day.

    `filesystem` names the disk (".": the root's), None for classes. A disk's rates are those of the classes that lie
    wholly on it; None where another class may lie on it in part. `limit` is what a class or disk can hold, `full_at`
    (Unix seconds) when it does at this rate; None: never, no limit, or not enough samples yet.
    """
    ledger = open_ledger(store)
    if ledger is None:
        rates: dict[str | None, _Rate] = {}
    else:
        with ledger:
            rates = _rates(reader, ledger, now, within)
    rules = {rule.name: rule for rule in store.config.classes}
    totals = reader.class_totals()
    names: list[str | None] = [*rules, *sorted(name for name in totals if name is not None and name not in rules)]
    rows = [
        _row("class", name, totals[name].allocated if name in totals else 0, rates.get(name), _limit(rules, name), now)
        for name in [*names, *([None] if None in totals else [])]
        if class_name in {None, name}
    ]
    if class_name is None:
        rows += _disks(store, rates, now)
    return rows


class _Rate:
    """Bytes in and out of something, over so many seconds."""

    def __init__(self, came: int, gone: int, seconds: int) -> None:
        self.came = came
        self.gone = gone
        self.seconds = seconds

    def __add__(self, other: _Rate) -> _Rate:
        """Add up rates of different windows, each by the day."""
        return _Rate(self.came_daily + other.came_daily, self.gone_daily + other.gone_daily, DAY)

    @property
    def came_daily(self) -> int:
        return round(self.came * DAY / self.seconds)

    @property
    def gone_daily(self) -> int:
        return round(self.gone * DAY / self.seconds)


def _rates(reader: Reader, ledger: Ledger, now: int, within: int) -> dict[str | None, _Rate]:
    totals = reader.class_totals()
    removed: dict[int, dict[str, tuple[int, int]]] = {}
    found: dict[str | None, _Rate] = {}
    for name, first in ledger.first_samples(now - within).items():
        if now - first.at < LEAST:
            continue
        if first.at not in removed:
            removed[first.at] = ledger.removed_since(first.at)
        gone = removed[first.at].get(name, (0, 0))[1] if name is not None else 0
        has = totals[name].allocated if name in totals else 0
        found[name] = _Rate(has - first.allocated + gone, gone, now - first.at)
    return found


def _limit(rules: dict[str, Rule], name: str | None) -> int | None:
    rule = rules.get(name) if name is not None else None
    if rule is None or rule.quota is None or rule.quota.per != "class":
        return None
    return rule.quota.high


def _disks(store: Store, rates: dict[str | None, _Rate], now: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each filesystem of the store; what others than the store write on it is not known."""
    names = tuple(name.strip("/") for name in store.config.store.filesystems)
    rules = {rule.name: rule for rule in store.config.classes}
    placed = {name: _places(rules.get(name) if name is not None else None, names) for name in rates}
    try:
        root_fd = os.open(store.root_bytes, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield _row("disk", None, None, None, None, now, ".")
        return
    try:
        for name, fd in filesystems(names, root_fd):
            found = os.fstatvfs(fd)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            mine = [rate for kind, rate in rates.items() if placed[kind] == {name}]
            known = bool(rates) and all(places == {name} or name not in places for places in placed.values())
            total = sum(mine, _Rate(0, 0, DAY)) if known else None
            yield _row("disk", None, used, total, used + found.f_bavail * found.f_frsize, now, name or ".")
    finally:
        os.close(root_fd)


def _places(rule: Rule | None, names: Sequence[str]) -> set[str]:
    """Return the filesystems ("": the root's) that files of a class may lie on."""
    own = rule.own_directories if rule is not None else ()
    if rule is None or len(own) < len(rule.match):  # anywhere
        return {"", *names}
    found = set()
    for directory in own:
        path = os.fsdecode(directory)
        found |= {name for name in names if name.startswith(path + "/") or not path}
        found.add(next((name for name in names if path == name or path.startswith(name + "/")), ""))
    return found


def _row(
    what: str,
    name: str | None,
    allocated: int | None,
    rate: _Rate | None,
    limit: int | None,
    now: int,
    filesystem: str | None = None,
) -> dict[str, Any]:
    came, gone = (None, None) if rate is None else (rate.came_daily, rate.gone_daily)
    net = None if came is None or gone is None else came - gone
    full_at = None
    if limit is not None and allocated is not None:
        if allocated >= limit:
            full_at = now
        elif net is not None and net > 0 and (left := (limit - allocated) * DAY // net) < FAR:
            full_at = now + left
    return {
        "what": what,
        "class": name,
        "allocated": allocated,
        "in_per_day": came,
        "out_per_day": gone,
        "net_per_day": net,
        "limit": limit,
        "full_at": full_at,
        "filesystem": filesystem,
    }
