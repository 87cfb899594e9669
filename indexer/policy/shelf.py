"""Many planned removals in little memory: packed in blocks, unpacked again as they are read.

A removal as objects takes 1.1 KB, packed 60 B (measured: names of frames). Small plans stay what they are.
"""

from __future__ import annotations

import heapq
import marshal
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from indexer.policy.decide import Remove
from indexer.policy.units import Going, Whole, files_in, going_key
from indexer.records import Identity, IndexedFile

if TYPE_CHECKING:
    from indexer.policy.decide import Child
    from indexer.rules import Rule

SMALL = 20_000
"""Removals that are kept as objects: what most plans have."""
BLOCK = 256
"""Removals that are packed together, and unpacked at once for each sequence that is read."""
_LEVEL = 1


def pack(rows: list[tuple[Any, ...]]) -> bytes:
    """Return plain tuples of numbers, texts, bytes and None as one block."""
    return zlib.compress(marshal.dumps(rows), _LEVEL)


def unpack(block: bytes) -> list[tuple[Any, ...]]:
    """Return the tuples of a block that `pack` has made in this process: marshal is for nothing else."""
    rows: list[tuple[Any, ...]] = marshal.loads(zlib.decompress(block))  # noqa: S302 - no input, see above
    return rows


class Shelf(Sequence[Remove]):
    """A sequence of removals, made by `add`; read from its start. What it says is what was put there."""

    def __init__(self, removes: Iterable[Remove] = ()) -> None:
        self._blocks: list[bytes] = []
        self._open: list[Remove] = []
        self._rules: list[Rule] = []
        self._children: list[Child] = []
        self._reasons: list[str] = []
        self._length = 0
        for remove in removes:
            self.add(remove)

    def add(self, remove: Remove) -> None:
        """Put one at the end."""
        self._open.append(remove)
        self._length += 1
        if len(self._open) >= BLOCK:
            self._blocks.append(self._packed(self._open))
            self._open = []

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Remove]:
        for block in self._blocks:
            yield from self._unpacked(block)
        yield from self._open

    def drain(self) -> Iterator[Remove]:
        """Yield all of it, giving back what has been read."""
        blocks, rest = self._blocks, self._open
        self._blocks, self._open, self._length = [], [], 0
        blocks.reverse()
        while blocks:
            yield from self._unpacked(blocks.pop())
        yield from rest

    @overload
    def __getitem__(self, place: int) -> Remove: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Remove, ...]: ...

    def __getitem__(self, place: int | slice) -> Remove | tuple[Remove, ...]:
        if isinstance(place, slice):
            start, stop, step = place.indices(self._length)
            if step > 0:
                return tuple(islice(self, start, stop, step))
            return tuple(self)[place]
        if place < 0:
            place += self._length
        if not 0 <= place < self._length:
            raise IndexError(place)
        block, within = divmod(place, BLOCK)
        if block < len(self._blocks):
            return next(islice(self._unpacked(self._blocks[block]), within, None))
        return self._open[within]

    def _packed(self, removes: list[Remove]) -> bytes:
        return pack([self._row(remove) for remove in removes])

    def _row(self, remove: Remove) -> tuple[Any, ...]:
        file = remove.file
        return (
            *file[:9], *file.identity, *file[10:], _place(self._rules, remove.rule),
            _place(self._reasons, remove.reason), remove.clock_at, remove.expires_at, remove.action,
            None if remove.child is None else self._child(remove.child),
        )  # fmt: skip

    def _child(self, child: Child) -> int:
        """Return the number of a child; its files follow each other."""
        if not self._children or self._children[-1] is not child:
            self._children.append(child)
        return len(self._children) - 1

    def _unpacked(self, block: bytes) -> Iterator[Remove]:
        for row in unpack(block):
            file = IndexedFile._make((*row[:9], Identity(row[9], row[10]), *row[11:20]))
            rule, reason, clock_at, expires_at, action, child = row[20:]
            yield Remove(
                file, self._rules[rule], self._reasons[reason], clock_at, expires_at, action,
                None if child is None else self._children[child],
            )  # fmt: skip


def _place(known: list[Any], one: Any) -> int:
    """Return where something stands that few are different of; the last one is the most likely."""
    for number in range(len(known) - 1, -1, -1):
        if known[number] is one:
            return number
    known.append(one)
    return len(known) - 1


@dataclass(slots=True)
class Oldest:
    """The oldest of what goes, no more than `most`, sorted in parts that are merged in the end."""

    most: int
    _horizon: tuple[int, bytes, bytes] | None = None
    _part: list[Going] = field(default_factory=list)
    _parts: list[Shelf] = field(default_factory=list)
    _packed: int = 0
    _taken: int = 0

    def __len__(self) -> int:
        """Return how many there are, as they would be read."""
        return min(self._taken, self.most)

    def add(self, going: Going) -> None:
        """Take one in, unless as many older ones are there."""
        self._taken += 1
        if self._horizon is not None and going_key(going) > self._horizon:
            return
        self._part.append(going)
        if len(self._part) >= SMALL:
            self._pack()

    def _pack(self) -> None:
        self._part.sort(key=going_key)
        shelf = Shelf()
        for one in self._part:
            for remove in files_in(one):
                shelf.add(remove)
        self._packed += len(self._part)
        self._part = []
        self._parts.append(shelf)
        if self._packed > self.most + self.most // 4 + SMALL:
            kept, last = Shelf(), None
            count = 0
            for last in islice(self._merged(), self.most):
                count += 1
                for remove in files_in(last):
                    kept.add(remove)
            self._parts, self._packed = [kept], count
            self._horizon = (0, b"", b"") if last is None else going_key(last)

    def _merged(self) -> Iterator[Going]:
        parts, self._parts = self._parts, []
        return heapq.merge(*(regrouped_in_order(part.drain()) for part in parts), key=going_key)

    def drain(self) -> Iterator[Going]:
        """Yield them, the oldest first, giving back what has been read."""
        self._part.sort(key=going_key)
        part, self._part = self._part, []
        found = heapq.merge(part, self._merged(), key=going_key) if self._parts else iter(part)
        return islice(found, self.most)


def regrouped_in_order(removes: Iterable[Remove]) -> Iterator[Going]:
    """Yield single removals with those of each child, which follow each other, together again."""
    together: list[Remove] = []
    for remove in removes:
        if together and remove.child is not together[0].child:
            yield Whole(tuple(together))
            together = []
        if remove.child is None:
            yield remove
        else:
            together.append(remove)
    if together:
        yield Whole(tuple(together))


def sequence_of(removes: Iterable[Remove]) -> Sequence[Remove]:
    """Return a few removals as a tuple, and many as a shelf."""
    removes = iter(removes)
    first = list(islice(removes, SMALL + 1))
    if len(first) <= SMALL:
        return tuple(first)
    shelf = Shelf(first)
    del first
    for remove in removes:
        shelf.add(remove)
    return shelf
