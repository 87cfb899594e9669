"""Watermarks: when a filesystem is too full, how much has to go, and which files of which classes give way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.policy.evict import evict
from indexer.policy.quota import NOTHING, Used
from indexer.policy.reasons import Reason
from indexer.policy.units import evict_units, files_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from indexer.policy.decide import Blockers, Remove
    from indexer.records import IndexedFile, Unit
    from indexer.rules import Rule, Watermark


@dataclass(frozen=True, slots=True)
class Room:
    """A filesystem as statvfs(3) tells it, in bytes and inodes."""

    used: int
    available: int
    """For users without privileges, as df shows it."""
    inodes: int
    """0: the filesystem has no fixed number of them (btrfs)."""
    inodes_free: int

    @property
    def share(self) -> float:
        """Used share of the space, as df shows it: what is reserved for root counts as neither used nor there."""
        return self.used / max(self.used + self.available, 1)

    @property
    def inode_share(self) -> float:
        """Used share of the inodes."""
        return (self.inodes - self.inodes_free) / self.inodes if self.inodes else 0.0


@dataclass(frozen=True, slots=True)
class Shortage:
    """How much has to come free on a filesystem: bytes, inodes, and which mark was reached first."""

    bytes: int
    files: int
    mark: str
    """space, min_free or inodes."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """What a plan does about one filesystem that would be too full: the trash first, then files."""

    filesystem: str
    shortage: Shortage
    purged: Used = NOTHING
    """What leaves the trash, in allocated bytes; also what the same plan puts there."""
    claimed: Used = NOTHING
    """What the files of the plan give back, by their last names."""
    stopped: str = ""
    """"", "exhausted" or "refused": as in the result of a run."""

    def as_json(self) -> dict[str, Any]:
        """Return one element of `watermarks` of a plan: the keys of a run's, with what should come free as gained."""
        return {
            "filesystem": self.filesystem,
            "mark": self.shortage.mark,
            "needed_bytes": self.shortage.bytes,
            "needed_files": self.shortage.files,
            "purged_files": self.purged.files,
            "purged_bytes": self.purged.allocated,
            "gained_bytes": self.purged.allocated + self.claimed.allocated,
            "gained_files": self.purged.files + self.claimed.files,
            "stopped": self.stopped,
        }


def shortage(mark: Watermark, room: Room, taken: int | None = None) -> Shortage | None:
    """Return what is needed to come from above a high mark to its low one; None: no mark is reached.

    Between the marks nothing begins (hysteresis). Where several are reached, the largest need counts for each of
    bytes and inodes. `taken` is what the store holds of this filesystem, its trash included, in bytes: with it the
    declared capacity is a second room, and what either needs counts; None: none was declared for this filesystem.
    """
    found = _shortage(mark, room)
    if taken is None or mark.capacity is None:
        return found
    own = _shortage(mark, Room(taken, mark.capacity - taken, 0, 0))
    if own is None or found is None:
        return own or found
    return Shortage(max(own.bytes, found.bytes), found.files, found.mark)


def _shortage(mark: Watermark, room: Room) -> Shortage | None:
    size, files, reached = 0, 0, ""
    if mark.space is not None and room.share >= mark.space.high:
        reached = "space"
        size = room.used - int(mark.space.stop * (room.used + room.available))
    if mark.min_free is not None and room.available <= mark.min_free.at:
        reached = reached or "min_free"
        size = max(size, mark.min_free.until - room.available)
    if mark.inodes is not None and room.inodes and room.inode_share >= mark.inodes.high:
        reached = reached or "inodes"
        files = room.inodes - room.inodes_free - int(mark.inodes.stop * room.inodes)
    return Shortage(max(size, 0), max(files, 0), reached) if size > 0 or files > 0 else None


def give_way(
    rules: Sequence[Rule],
    need: Used,
    files_of: Callable[[Rule], Iterable[IndexedFile | Unit]],
    *,
    now: int,
    blockers: Blockers,
    on_keep: Callable[[str], None] = lambda _blocker: None,
) -> Iterator[Remove]:
    """Yield what goes under a watermark: `rules` in the order in which they give way, each in its own order.

    Everything is deleted, whatever the class's `action`: the trash frees nothing. Holds, leases, excludes and min_age
    hold here too. Stops as soon as the need is met.
    """
    left = need
    for rule in rules:
        if left.files <= 0 and left.allocated <= 0:
            return
        how: Any = evict_units if rule.unit == "child" else evict
        for going in how(
            rule, left, files_of(rule), now=now, blockers=blockers, on_keep=on_keep, reason=Reason.WATERMARK,
            action="delete",
        ):  # fmt: skip
            for remove in files_in(going):
                last = remove.file.links <= 1
                left -= Used(1 if last else 0, remove.file.allocated if last else 0)
                yield remove


def disappoints(claimed: Used, gained: Used) -> bool:
    """Tell whether less than half of what was removed has really come free, in bytes or, where only they count, inodes.

    Open files, hard links, snapshots and other writers are the usual reasons; to go on would empty the store in vain.
    """
    if claimed.allocated > 0:
        return gained.allocated * 2 < claimed.allocated
    return gained.files * 2 < claimed.files


def filesystem_of(path: bytes, names: Sequence[str]) -> str:
    """Return which of the store's named filesystems a path lies on, "" being the root's own."""
    best = ""
    for name in names:
        base = name.strip("/").encode("utf-8", "surrogateescape")
        if len(name) > len(best) and (path == base or path.startswith(base + b"/")):
            best = name
    return best
