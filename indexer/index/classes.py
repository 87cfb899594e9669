"""The classes as the index sees them: ids that stay, and what a directory's files fall into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from indexer.index import derived

if TYPE_CHECKING:
    from indexer.index.directories import Directories
    from indexer.rules import Rule

CACHE_LIMIT = 50_000

ClockOf = Callable[[int, int, int, int | None, int, bytes], int]
"""(mtime, last use, ctime, btime or None, first_seen, name) -> the class's clock; all times in Unix seconds."""


class DirectoryRules(Protocol):
    """What a directory's path decides about the names in it."""

    constant: bool
    """Every name falls into the same class: `index` and `aged` say which."""
    index: int | None
    aged: bool
    ignores: bool
    """Some name may not have to be indexed: ask `ignored`."""

    def of(self, name: bytes) -> tuple[int | None, bool]:
        """Return the index of the name's rule (None: no class), and whether it ages."""

    def ignored(self, name: bytes, is_dir: bool) -> bool:  # noqa: FBT001 - the policy's signature
        """Say whether the name is not to be indexed at all."""


class Classifier(Protocol):
    """The policy's side of classification (`policy.classes.Classifier`)."""

    def at(self, directory: bytes) -> DirectoryRules:
        """Return the rules for the names directly in `directory` (relative to the root)."""


class NoClasses:
    """No policy: everything is indexed, nothing is classified."""

    constant: bool = True
    index: int | None = None
    aged: bool = False
    ignores: bool = False

    def at(self, directory: bytes) -> DirectoryRules:  # noqa: ARG002 - the protocol's signature
        """Return itself: every directory is alike."""
        return self

    def of(self, name: bytes) -> tuple[int | None, bool]:  # noqa: ARG002 - the protocol's signature
        """No class."""
        return None, False

    def ignored(self, name: bytes, is_dir: bool) -> bool:  # noqa: ARG002, FBT001 - the protocol's signature
        """Nothing is ignored."""
        return False


NO_CLASSES = NoClasses()


@dataclass(frozen=True, slots=True)
class Policy:
    """All that the index is told of the policy."""

    rules: Sequence[Rule] = ()
    classifier: Classifier = NO_CLASSES
    clocks: Sequence[ClockOf] = ()
    """One for each rule."""
    fingerprint: str = ""
    """Changes whenever a file's class or clock may: match, exclude, ignore, clocks, arrival_floor."""
    ignoring: str = ""
    """Changes whenever another name may have to be indexed: the globs of `ignore`."""


@dataclass(frozen=True, slots=True)
class Aging:
    """How the files of one class age."""

    class_id: int
    clock_of: ClockOf
    plain: bool
    """The common case, decided in line: the later of mtime and first_seen."""
    lazy: bool
    """The clock uses the last use: what is stored is a lower bound."""


def sync_classes(connection: Any, policy: Policy) -> list[Aging]:
    """Bring the class table in line with the policy; classes that are no longer configured stay, marked not live."""
    agings = []
    orders: set[tuple[str, int]] = set()
    connection.execute("UPDATE class SET live = 0 WHERE live = 1")
    for position, (rule, clock_of) in enumerate(zip(policy.rules, policy.clocks, strict=True)):
        connection.execute(
            "INSERT INTO class (name, position, tier, ttl, clocks, arrival_floor, unit, quota_high, quota_low)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET position = excluded.position, tier = excluded.tier, ttl = excluded.ttl,"
            " clocks = excluded.clocks, arrival_floor = excluded.arrival_floor, unit = excluded.unit,"
            " quota_high = excluded.quota_high, quota_low = excluded.quota_low, live = 1",
            (
                rule.name,
                position,
                rule.tier,
                rule.ttl,
                ",".join(rule.clocks),
                int(rule.arrival_floor),
                rule.unit,
                *(_limits(rule) if rule.quota is not None and rule.quota.per == "class" else (None, None)),
            ),
        )
        class_id = connection.execute("SELECT id FROM class WHERE name = ?", (rule.name,)).fetchone()[0]
        if rule.quota is not None and rule.quota.per == "class" and rule.evicts and rule.quota.order != "clock":
            orders.add((rule.quota.order, class_id))
        plain = tuple(rule.clocks) == ("mtime",) and rule.arrival_floor
        agings.append(Aging(class_id, clock_of, plain, "atime" in rule.clocks))
    derived.keep_orders(connection, orders)
    return agings


def _limits(rule: Rule) -> tuple[int | None, int | None]:
    """Return (high, low) of a quota in bytes."""
    quota = rule.quota
    return (None, None) if quota is None else (quota.high, quota.high if quota.low is None else quota.low)


class RulesCache:
    """What the policy says of each directory, for as long as no directory has moved."""

    def __init__(self, directories: Directories, classifier: Classifier) -> None:
        self._directories = directories
        self._classifier = classifier
        self._known: dict[int, DirectoryRules] = {}

    def at(self, directory_id: int) -> DirectoryRules:
        """Return the rules of a directory. Raises DetachedError."""
        rules = self._known.get(directory_id)
        if rules is None:
            rules = self._classifier.at(self._directories.path(directory_id))
            if len(self._known) >= CACHE_LIMIT:
                self._known.clear()
            self._known[directory_id] = rules
        return rules

    def adopt(self, classifier: Classifier) -> None:
        """Another policy is in force."""
        self._classifier = classifier
        self._known.clear()

    def clear(self) -> None:
        """A directory moved: what its path decided may have changed."""
        self._known.clear()
