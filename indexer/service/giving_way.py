"""What gives way on one filesystem under a watermark: the oldest of its trash, then files in the policy's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.policy.guards import fraction_breach, shares_of
from indexer.policy.plan import Plan
from indexer.policy.quota import Holding, Used
from indexer.policy.units import cut, regrouped
from indexer.policy.watermark import filesystem_of, give_way
from indexer.records import Unit
from indexer.service.planning import DAY, UnitBlockers, attributes_of, blockers_of, evictable, notices_of, only

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from indexer.config.model import Config
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.rows import Action
    from indexer.index.queries import Reader
    from indexer.policy.decide import Remove
    from indexer.records import IndexedFile
    from indexer.rules import Watermark
    from indexer.service.planning import Chosen


def plan_relief(
    config: Config,
    reader: Reader,
    ledger: Ledger | None,
    name: str,
    mark: Watermark,
    need: Used,
    now: int,
    *,
    taken: AbstractSet[bytes] = frozenset(),
    before: Mapping[str, int] | None = None,
    override: str | None = None,
    chosen: Chosen = lambda _file: True,
) -> Plan:
    """Decide what goes on the filesystem `name`, complete before the first action, and ask the guards.

    A forecast says what will be gone by then: the paths `taken`, and how many files of each class (`before`).
    """
    by_name = {rule.name: rule for rule in config.classes}
    protection = None if ledger is None else ledger.protection(now)
    against = UnitBlockers(reader, protection, config.guards)
    kept: dict[str, int] = {}

    def keep(blocker: str) -> None:
        kept[blocker] = kept.get(blocker, 0) + 1

    actions = list(
        give_way(
            [by_name[one] for one in mark.order if one in by_name],
            need,
            lambda rule: only(
                chosen, _here(config, evictable(reader, Holding(rule, Used()), ledger, now, against), name, taken)
            ),
            now=now,
            blockers=blockers_of(reader, protection, attributes_of(config, now), notices_of(config, ledger, now)),
            on_keep=keep,
        )
    )
    recent = dict(before or {})
    if ledger is not None:
        for one, files in ledger.missing_since(now - DAY).items():
            recent[one] = recent.get(one, 0) + files
    refused = fraction_breach(
        shares_of(by_class(actions), recent, by_name),
        guards=config.guards,
        live_files=reader.live_files() - len(taken),
    )
    if refused is not None and refused.guard == override:
        refused = None
    due = len(actions)
    actions = list(cut(regrouped(actions), config.guards))
    return Plan(tuple(actions), kept, truncated=len(actions) < due, refused=refused, now=now, due=due)


def by_class(actions: Iterable[Remove]) -> dict[str, int]:
    """Count actions by class."""
    counted: dict[str, int] = {}
    for action in actions:
        counted[action.rule.name] = counted.get(action.rule.name, 0) + 1
    return counted


def oldest_trash(trash: Iterable[Action], name: str, need: Used) -> list[Action]:
    """Return what leaves the trash of the filesystem `name`: the oldest first, no more than needed."""
    chosen: list[Action] = []
    size = 0
    here = [one for one in trash if one.filesystem == name and one.outcome != "stray"]
    for action in sorted(here, key=lambda one: (one.at or 0, one.run, one.seq)):
        if size >= need.allocated and len(chosen) >= need.files:
            break
        chosen.append(action)
        size += action.allocated
    return chosen


def _here(
    config: Config, found: Iterable[IndexedFile | Unit], name: str, taken: AbstractSet[bytes]
) -> Iterator[IndexedFile | Unit]:
    names = config.store.filesystems
    for one in found:
        if isinstance(one, Unit):
            free = not taken or not any(file.path in taken for file in one.files)
            if free and filesystem_of(one.path, names) == name:
                yield one
        elif filesystem_of(one.directory, names) == name and one.path not in taken:
            yield one
