"""How a plan is cut: by directory, in batches that take about a second."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.policy.plan import Plan, Remove

SMALLEST, LARGEST = 64, 4096
"""Files in a batch."""


def next_size(size: int, took: float) -> int:
    """Return the size of the next batch after one of `size` files that `took` so many seconds."""
    if took > 1.0:
        return max(SMALLEST, size // 2)
    return min(LARGEST, size * 2) if took < 0.5 else size


def by_directory(plan: Plan) -> Iterator[tuple[bytes, list[Remove]]]:
    """Yield the plan's files directory by directory, that of the oldest file first, inodes in ascending order.

    Unlinking in clock order costs 1.9 times directory order (measured).
    """
    groups: dict[bytes, list[Remove]] = {}
    for remove in plan.actions:
        groups.setdefault(remove.file.directory, []).append(remove)
    for directory, removes in groups.items():
        removes.sort(key=lambda remove: remove.file.identity.inode)
        yield directory, removes


def take(
    groups: Iterator[tuple[bytes, list[Remove]]], waiting: list[tuple[bytes, list[Remove]]], size: int
) -> tuple[list[tuple[bytes, list[Remove]]], list[tuple[bytes, list[Remove]]]]:
    """Return (a batch of about `size` files, what is left of a group that did not fit)."""
    batch: list[tuple[bytes, list[Remove]]] = []
    for directory, removes in itertools.chain(waiting, groups):
        batch.append((directory, removes[:size]))
        if len(removes) >= size:
            rest = removes[size:]
            return batch, [(directory, rest)] if rest else []
        size -= len(removes)
    return batch, []
