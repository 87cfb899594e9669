"""What an edit of the policy would change: what would newly go, and what would newly stay. Nothing is written.

The index knows classes and clocks by the policy in force; for the other one every file is decided anew, in one pass.
Quotas are compared too; watermarks are not, since they ask how full the disk is when they ask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from indexer.policy.classes import Classifier
from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.plan import Plan, plan
from indexer.policy.quota import Holding, Place, Used, order_key
from indexer.policy.units import rows, unit_key
from indexer.records import Unit
from indexer.service.planning import DAY, UnitBlockers, attributes_of, blockers_of, decide_all, notices_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from indexer.config.model import Config
    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader
    from indexer.policy.decide import Remove
    from indexer.records import IndexedFile
    from indexer.rules import Rule
    from indexer.service.planning import Scope

_WITHOUT_END = 2**62


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """The difference of two plans, neither of them cut by max_files or max_bytes."""

    goes: Plan
    """What goes by the new policy only, and what its guards say of the whole new plan."""
    stays: Plan
    """What goes by the policy in force only."""

    def as_json(self) -> dict[str, Any]:
        """Return the document of `plan --policy --json`."""
        refused = self.goes.refused
        return {
            "goes": list(rows(self.goes.actions)),
            "stays": list(rows(self.stays.actions)),
            "totals": {"goes": self.goes.totals(), "stays": self.stays.totals()},
            "refused": None if refused is None else str(refused.guard),
            "refusal": None if refused is None else {"message": refused.message, "remedy": refused.remedy},
            "at": self.goes.now,
        }


def policy_change(
    old: Config, new: Config, reader: Reader, ledger: Ledger | None, now: int, scope: Scope
) -> PolicyChange:
    """Compare what goes at `now` (Unix seconds) by two policies, within the scope."""
    uncut = replace(old, guards=replace(old.guards, max_files=_WITHOUT_END, max_bytes=_WITHOUT_END))
    before = decide_all(uncut, reader, ledger, now)
    after = _decide_anew(new, reader, ledger, now)
    by_old, by_new = _paths(before.actions), _paths(after.actions)
    goes = tuple(one for one in _within(after.actions, scope) if one.file.path not in by_old)
    stays = tuple(one for one in _within(before.actions, scope) if one.file.path not in by_new)
    return PolicyChange(
        Plan(goes, {}, truncated=False, refused=after.refused, now=now, due=len(goes)),
        Plan(stays, {}, truncated=False, refused=None, now=now, due=len(stays)),
    )


def _paths(actions: Iterable[Remove]) -> set[bytes]:
    return {action.file.path for action in actions}


def _within(actions: Iterable[Remove], scope: Scope) -> Iterator[Remove]:
    below = scope.under + b"/"
    for one in actions:
        inside = not scope.under or one.file.path == scope.under or one.file.path.startswith(below)
        if inside and scope.class_name in {None, one.rule.name}:
            yield one


def _decide_anew(config: Config, reader: Reader, ledger: Ledger | None, now: int) -> Plan:
    used: dict[Place, Used] = {}
    due: list[tuple[Rule, IndexedFile | Unit]] = []
    children: dict[tuple[str, bytes], list[IndexedFile]] = {}
    for rule, file in _reclassified(config, reader):
        if rule.quota is not None:
            place = _place(rule, file)
            if rule.quota.per == "class" or place[1] is not None:
                had = used.get(place, Used())
                used[place] = had + Used(1, file.allocated if file.charged else 0)
        if rule.unit == "child":
            place_of = rule.child_of(file.directory)
            children.setdefault((rule.name, file.path if place_of is None else place_of), []).append(file)
        elif rule.ttl is not None and file.clock is not None and file.clock < now - rule.ttl:
            due.append((rule, file))
    rules = {rule.name: rule for rule in config.classes}

    protection = ledger.protection(now) if ledger is not None else None
    units = _units(children, UnitBlockers(reader, protection, config.guards))
    due += [(rules[name], unit) for name, found in units.items() for unit in found if rules[name].ttl is not None]

    def files_of(holding: Holding) -> list[IndexedFile] | list[Unit]:
        wanted = (holding.rule.name, holding.child)
        if holding.rule.unit == "child":
            whole = [one for one in units.get(holding.rule.name, ()) if holding.child in {None, one.path}]
            return sorted(whole, key=unit_key(holding.rule))
        files = [file for rule, file in _reclassified(config, reader) if _place(rule, file) == wanted]
        return sorted(files, key=order_key(holding.rule))

    return plan(
        due,
        guards=replace(config.guards, max_files=_WITHOUT_END, max_bytes=_WITHOUT_END),
        live_files=reader.live_files(),
        now=now,
        blockers=blockers_of(reader, protection, attributes_of(config, now), notices_of(config, ledger, now)),
        rules=config.classes,
        recent=ledger.missing_since(now - DAY) if ledger is not None else {},
        holdings=[Holding(rules[name], what, child) for (name, child), what in sorted(used.items(), key=str)],
        files_of=files_of,
    )


def _units(children: Mapping[tuple[str, bytes], list[IndexedFile]], against: UnitBlockers) -> dict[str, list[Unit]]:
    """Return the children that would go as one, by class."""
    found: dict[str, list[Unit]] = {}
    for (name, child), files in children.items():
        if any(file.clock is not None for file in files):
            ids = tuple({file.directory_id for file in files})
            single = files[0].path == child  # beside the children: it goes by itself
            found.setdefault(name, []).append(against(Unit(child, tuple(files), not single, ids)))
    return found


def _place(rule: Rule, file: IndexedFile) -> Place:
    per_child = rule.quota is not None and rule.quota.per == "child"
    return rule.name, rule.child_of(file.directory) if per_child else None


def _reclassified(config: Config, reader: Reader) -> Iterator[tuple[Rule, IndexedFile]]:
    """Yield every file that has a class by this policy, with the class and clock it gives."""
    classifier = Classifier(config.classes, config.store.ignore)
    clocks = [compile_clock(rule) for rule in config.classes]
    for (directory_id,) in reader.connection.execute("SELECT id FROM directory"):
        path = reader.directory_path(directory_id)
        if path is None:
            continue
        here = classifier.at(path)
        for file in reader.files_in(directory_id):
            number, aged = here.of(file.name)
            if number is None or (here.ignores_files and here.ignored(file.name, False)):
                continue
            rule = config.classes[number]
            named = file._replace(class_name=rule.name, clock=0)
            yield rule, named._replace(clock=file_clock(clocks[number], named) if aged else None)
