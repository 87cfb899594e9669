"""What a watermark would take of each filesystem, foretold.

room now → what the plan itself frees → still short? → trash, the oldest first, with what the plan has put there → files
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.enforce.trash import unprotected
from indexer.policy.quota import Used, sum_of
from indexer.policy.watermark import Pressure, Room, filesystem_of, shortage
from indexer.service.giving_way import by_class, oldest_trash, plan_relief
from indexer.service.room import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.rows import Action
    from indexer.index.queries import Reader
    from indexer.policy.decide import Remove
    from indexer.policy.guards import Refusal
    from indexer.policy.plan import Plan
    from indexer.rules import Watermark
    from indexer.service.planning import Chosen
    from indexer.store import Store


@dataclass(slots=True)
class Outlook:
    """What has been foretold so far."""

    store: Store
    reader: Reader
    ledger: Ledger | None
    mark: Watermark
    plan: Plan
    past: list[Action]
    override: str | None
    actions: list[Remove]
    chosen: Chosen
    taken: int | None
    """Bytes of the disk that the store holds now; None where no capacity is declared."""
    kept: dict[str, int] = field(init=False)
    truncated: bool = False
    refused: Refusal | None = None
    due: int = 0
    done: list[Pressure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = dict(self.plan.kept)

    def filesystem(self, name: str, room: Room) -> None:
        """Foretell one filesystem."""
        names = self.store.config.store.filesystems
        mine = [one for one in self.plan.actions if filesystem_of(one.file.directory, names) == name]
        gone = sum_of(one.allocated for one in self.past if one.filesystem == name)
        gone += freed(one for one in mine if one.action == "delete")
        left = with_more(room, gone)
        taken_then = None if name or self.taken is None else self.taken - gone.allocated
        short = shortage(self.mark, left, taken_then)
        if short is None:
            return
        need = Used(short.files, short.bytes)
        purged = self._trash(name, mine, need)
        need = _left(need, purged)
        claimed, stopped = Used(), ""
        taken = {one.file.path for one in self.actions}
        for _ in range(ROUNDS):
            if not (need.files or need.allocated) or stopped:
                break
            found = plan_relief(
                self.store.config, self.reader, self.ledger, name, self.mark, need, self.plan.now,
                taken=taken, before=by_class(self.actions), override=self.override, chosen=self.chosen,
            )  # fmt: skip
            if found.refused is not None:
                self.refused, stopped = self.refused or found.refused, "refused"
                break
            self.kept = _added(self.kept, found.kept)
            if not found.actions:
                stopped = "exhausted"
                break
            self.actions += found.actions
            self.due += len(found.actions)
            taken |= {one.file.path for one in found.actions}
            gained = freed(found.actions)
            claimed, need = claimed + gained, _left(need, gained)
        if not stopped and (need.files or need.allocated):
            stopped = "exhausted"
        self.done.append(Pressure(name, short, purged, claimed, stopped))

    def _trash(self, name: str, mine: list[Remove], need: Used) -> Used:
        """Return what leaves the trash: what lies there and is not past its time, then what this plan puts there."""
        past = {(one.run, one.seq) for one in self.past}
        lying = () if self.ledger is None else unprotected(self.ledger, self.ledger.trash(), self.plan.now)
        chosen = oldest_trash((one for one in lying if (one.run, one.seq) not in past), name, need)
        purged = sum_of(one.allocated for one in chosen)
        for one in mine:
            if one.action == "trash" and (purged.allocated < need.allocated or purged.files < need.files):
                purged += Used(1, one.file.allocated)
        return purged


def with_more(room: Room, gone: Used) -> Room:
    """Return a filesystem as it is once so much has gone."""
    return Room(room.used - gone.allocated, room.available + gone.allocated, room.inodes, room.inodes_free + gone.files)


def freed(actions: Iterable[Remove]) -> Used:
    """Return what comes free when these are deleted: where it is the last name."""
    return sum_of(one.file.allocated for one in actions if one.file.links <= 1)


def _left(need: Used, gone: Used) -> Used:
    return Used(max(need.files - gone.files, 0), max(need.allocated - gone.allocated, 0))


def _added(one: dict[str, int], other: Mapping[str, int]) -> dict[str, int]:
    total = dict(one)
    for why, count in other.items():
        total[why] = total.get(why, 0) + count
    return total
