"""Quotas: which classes and children hold too much, and what gives way, in which order, until they do not."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.policy.clocks import compile_clock, file_clock, uses_access
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from indexer.records import Identity, IndexedFile
    from indexer.rules import Rule

Place = tuple[str, bytes | None]
"""(class, path of one of its children or None for the whole class)."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a class or a child holds: files, and the allocated bytes charged to them."""

    files: int = 0
    allocated: int = 0

    def __sub__(self, other: Used) -> Used:
        return Used(self.files - other.files, self.allocated - other.allocated)

    def __add__(self, other: Used) -> Used:
        return Used(self.files + other.files, self.allocated + other.allocated)


NOTHING = Used()


def sum_of(sizes: Iterable[int]) -> Used:
    """Count some files, and add up their allocated bytes."""
    files = size = 0
    for each in sizes:
        files, size = files + 1, size + each
    return Used(files, size)


class Holding(NamedTuple):
    """What one class, or one child of a class with quotas per child, holds now."""

    rule: Rule
    used: Used
    child: bytes | None = None
    """Path of the child, relative to the root; None: the whole class."""

    @property
    def place(self) -> Place:
        """Return what it is known by."""
        return self.rule.name, self.child

    def over(self, less: Used = Used()) -> Used | None:
        """Return what has to go once `less` has gone: at least so many files and so many bytes; None: not over."""
        quota, left = self.rule.quota, self.used - less
        if quota is None:
            return None
        low = quota.high if quota.low is None else quota.low
        size = 0
        if quota.high is not None and low is not None and left.allocated >= quota.high:
            size = max(left.allocated - low, 0)
        files = max(left.files - quota.files, 0) if quota.files is not None else 0
        return Used(files, size) if files or size else None

    def as_json(self) -> dict[str, Any]:
        """Return one row of `report quotas`: the limits, what is used of them, and whether anything will go."""
        quota = self.rule.quota
        assert quota is not None  # noqa: S101 - only classes with a quota are asked
        parts = []
        if quota.high is not None:
            parts.append(self.used.allocated / quota.high)
        if quota.files is not None:
            parts.append(self.used.files / quota.files)
        return {
            "class": self.rule.name,
            "child": None if self.child is None else text_of(self.child),
            "files": self.used.files,
            "allocated": self.used.allocated,
            "quota_high": quota.high,
            "quota_low": quota.high if quota.low is None else quota.low,
            "quota_files": quota.files,
            "used": max(parts, default=0.0),
            "over": self.over() is not None,
            "evicts": self.rule.evicts,
        }


@dataclass(slots=True)
class Demand:
    """What is still to go, counted down as files are chosen."""

    files: int
    allocated: int
    names: dict[Identity, int] = field(default_factory=dict)
    """Names chosen of inodes that have several: their blocks come back with the last one."""

    @property
    def met(self) -> bool:
        """Enough has been chosen."""
        return self.files <= 0 and self.allocated <= 0

    def helps(self, file: IndexedFile) -> bool:
        """Tell whether taking this file brings the end nearer at all: an empty one gives no bytes back."""
        return self.files > 0 or file.allocated > 0

    def take(self, file: IndexedFile) -> None:
        """Count one file."""
        self.files -= 1
        if file.links > 1:
            seen = self.names.get(file.identity, 0) + 1
            self.names[file.identity] = seen
            if seen < file.links:
                return
        self.allocated -= file.allocated


def order_key(rule: Rule) -> Callable[[IndexedFile], tuple[int, int, int, bytes]]:
    """Return the key by which a class's files give way, the smallest first; ties by clock, directory and name."""
    clock = compile_clock(rule)
    order = rule.quota.order if rule.quota is not None else "clock"

    def key(file: IndexedFile) -> tuple[int, int, int, bytes]:
        at = file_clock(clock, file)
        first = {"clock": at, "size": -file.allocated, "first_seen": file.first_seen}[order]
        return first, at, file.directory_id, file.name

    return key


def in_true_order(rule: Rule, files: Iterable[IndexedFile]) -> Iterator[IndexedFile]:
    """Yield files that come by stored clock in the order of their true clocks.

    For a class by access the stored clock is a lower bound: a file waits until nothing older can follow.
    """
    if not uses_access(rule):
        yield from files
        return
    key = order_key(rule)
    waiting: list[tuple[tuple[int, int, int, bytes], IndexedFile]] = []
    for file in files:
        while waiting and file.clock is not None and waiting[0][0][0] < file.clock:
            yield heapq.heappop(waiting)[1]
        heapq.heappush(waiting, (key(file), file))
    while waiting:
        yield heapq.heappop(waiting)[1]


def first_of(rule: Rule, files: Iterable[IndexedFile], need: Used) -> list[IndexedFile]:
    """Return the first files by the class's order that meet the need; `files` come in any order.

    One pass; no more are remembered than meet the need at that point (a heap with the last on top).
    """
    key = order_key(rule)
    kept: list[tuple[_Last, IndexedFile]] = []
    count, size = 0, 0
    for file in files:
        gain = file.allocated if file.links <= 1 else 0
        heapq.heappush(kept, (_Last(key(file)), file))
        count, size = count + 1, size + gain
        while kept:
            last = kept[0][1]
            spare = last.allocated if last.links <= 1 else 0
            if count - 1 < need.files or size - spare < need.allocated:
                break
            heapq.heappop(kept)
            count, size = count - 1, size - spare
    return [file for _, file in sorted(kept, key=lambda entry: entry[0].key)]


class _Last:
    """Turns the order of a heap around."""

    __slots__ = ("key",)

    def __init__(self, key: tuple[int, int, int, bytes]) -> None:
        self.key = key

    def __lt__(self, other: _Last) -> bool:
        return self.key > other.key
