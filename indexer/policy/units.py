"""What goes as one: a child is as old as its youngest file, and what keeps one of its files keeps all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.decide import Blockers, Child, Keep, Remove, nobody, too_young
from indexer.policy.quota import Demand, Used
from indexer.policy.reasons import Blocker, Reason
from indexer.records import NEVER
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Literal

    from indexer.records import IndexedFile, Unit
    from indexer.rules import Guards, Rule

_STRENGTH = {str(word): number for number, word in enumerate(Blocker)}


class Whole(NamedTuple):
    """A child that goes: its files, in one piece or not at all."""

    removes: tuple[Remove, ...]

    @property
    def child(self) -> Child:
        """The directory that they make up."""
        found = self.removes[0].child
        assert found is not None  # noqa: S101 - it is made so below
        return found


Going = Remove | Whole


def files_in(going: Going) -> Sequence[Remove]:
    """Return the single removals that something which goes consists of."""
    return going.removes if isinstance(going, Whole) else (going,)


def going_key(going: Going) -> tuple[int, bytes, bytes]:
    """Return what a plan is ordered by: the clock, then the place."""
    if isinstance(going, Whole):
        return going.removes[0].clock_at, going.child.path, b""
    return going.clock_at, going.file.directory, going.file.name


def unit_clock(rule: Rule, unit: Unit) -> int:
    """Return the true clock of a unit in Unix seconds: that of its youngest file."""
    clock = compile_clock(rule)
    return max((file_clock(clock, file) for file in unit.files if file.clock is not None), default=NEVER)


def youngest_of(unit: Unit, rule: Rule) -> IndexedFile:
    """Return the file that a unit is as old as. Raises ValueError where none of its files ages."""
    clock = compile_clock(rule)
    return max((file for file in unit.files if file.clock is not None), key=lambda file: file_clock(clock, file))


def unit_key(rule: Rule) -> Callable[[Unit], tuple[int, int, bytes]]:
    """Return the key by which a class's units give way, the smallest first; ties by clock and path."""
    order = rule.quota.order if rule.quota is not None else "clock"

    def key(unit: Unit) -> tuple[int, int, bytes]:
        at = unit_clock(rule, unit)
        if order == "clock":
            return at, at, unit.path
        if order == "size":
            return -unit.allocated, at, unit.path
        return min(file.first_seen for file in unit.files if file.clock is not None), at, unit.path

    return key


def obstacle(rule: Rule, unit: Unit, now: int, blockers: Blockers = nobody) -> str | None:
    """Return the strongest word for what stands in the way of a unit, or None: one of its files is enough."""
    found = {unit.blocker} if unit.blocker is not None else set()
    for file in unit.files:
        word = blockers(file) or (Blocker.EXCLUDED if file.clock is None else too_young(rule, file, now))
        if word is not None:
            found.add(word)
    return min(found, key=lambda word: _STRENGTH.get(str(word), -1), default=None)


def too_large(unit: Unit, guards: Guards) -> str | None:
    """Return the blocker of a child that no run may take, since it may only take all of it."""
    fits = len(unit.files) <= guards.max_files and sum(file.allocated for file in unit.files) <= guards.max_bytes
    return None if fits or not unit.child else Blocker.TOO_LARGE


def decide_unit(rule: Rule, unit: Unit, *, now: int, blockers: Blockers = nobody) -> Whole | Remove | Keep | None:
    """Return what becomes of a unit at `now` (Unix seconds); None: it is not due yet."""
    if rule.ttl is None:
        return None
    clock_at = unit_clock(rule, unit)
    if clock_at >= NEVER or now <= clock_at + rule.ttl:
        return None
    if (blocker := obstacle(rule, unit, now, blockers)) is not None:
        return Keep(unit.files[0], blocker, sum(file.clock is not None for file in unit.files))
    return _going(rule, unit, Reason.EXPIRED, clock_at, rule.action)


def evict_units(
    rule: Rule,
    need: Used,
    units: Iterable[Unit],
    *,
    now: int,
    blockers: Blockers = nobody,
    on_keep: Callable[[str], None] = lambda _blocker: None,
    reason: Reason = Reason.QUOTA,
    action: Literal["trash", "delete", "system-trash"] | None = None,
) -> Iterator[Whole | Remove]:
    """Yield the units that go so that `need` is met, as `evict` does with files: at most one more than needed.

    `units` come in the class's order.
    """
    by_write = (
        (rule.quota is None or rule.quota.order == "clock") and set(rule.clocks) == {"mtime"} and rule.arrival_floor
    )
    demand = Demand(need.files, need.allocated)
    for unit in units:
        if demand.met:
            return
        clock_at = unit_clock(rule, unit)
        if clock_at >= NEVER or not (demand.files > 0 or any(file.allocated for file in unit.files)):
            continue
        if rule.ttl is not None and now > clock_at + rule.ttl and reason == Reason.QUOTA:
            continue
        if (blocker := obstacle(rule, unit, now, blockers)) is not None:
            for file in unit.files:
                if file.clock is not None:
                    on_keep(blocker)
            if by_write and blocker == Blocker.TOO_YOUNG:
                return
            continue
        for file in unit.files:
            demand.take(file)
        yield _going(rule, unit, reason, clock_at, action or rule.action)


def _going(
    rule: Rule, unit: Unit, reason: Reason, clock_at: int, action: Literal["trash", "delete", "system-trash"]
) -> Whole | Remove:
    expires_at = None if rule.ttl is None else clock_at + rule.ttl
    if not unit.child:
        return Remove(unit.files[0], rule, reason, clock_at, expires_at, action)
    child = Child(unit.path, len(unit.files), sum(file.size for file in unit.files), unit.allocated)
    return Whole(tuple(Remove(file, rule, reason, clock_at, expires_at, action, child) for file in unit.files))


def cut(going: Iterable[Going], guards: Guards, *, limit: int | None = None) -> Iterator[Remove]:
    """Yield the single removals of the first of `going` that one run may do.

    `limit` counts what goes as one, `max_files` files. A child is never cut apart.
    """
    files = size = 0
    for taken, one in enumerate(going):
        if isinstance(one, Whole):
            files += len(one.removes)
            size += sum(remove.file.allocated for remove in one.removes)
        else:  # a plan of many thousand is mostly this
            files += 1
            size += one.file.allocated
        if taken == limit or files > guards.max_files or size > guards.max_bytes:
            return
        if isinstance(one, Whole):
            yield from one.removes
        else:
            yield one


def rows(actions: Iterable[Remove]) -> Iterator[dict[str, Any]]:
    """Yield the elements of `plan --json`'s `actions`: one for each file that goes by itself, one for each child."""
    last: Child | None = None
    for action in actions:
        child = action.child
        if child is None:
            yield action.as_json()
        elif child is not last:
            yield {
                **action.as_json(),
                "path": text_of(child.path),
                "bytes": child.bytes,
                "allocated": child.allocated,
                "unit": "child",
                "files": child.files,
            }
        last = child


def regrouped(actions: Iterable[Remove]) -> list[Going]:
    """Return single removals with those of each child together again."""
    found: list[Going] = []
    children: dict[bytes, list[Remove]] = {}
    for action in actions:
        if action.child is None:
            found.append(action)
        elif action.child.path in children:
            children[action.child.path].append(action)
        else:
            children[action.child.path] = []
            found.append(action)
    return [
        one if one.child is None else Whole((one, *children[one.child.path]))
        for one in found
        if isinstance(one, Remove)
    ]


def blocked(unit: Unit, blocker: str | None) -> Unit:
    """Return the unit with what is known to stand in its way."""
    return unit if blocker is None else unit._replace(blocker=blocker)
