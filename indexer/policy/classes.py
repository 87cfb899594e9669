"""Which class a file belongs to, and whether it ages: decided once a directory wherever the directory alone decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from indexer.policy.globs import Glob, Globs, Place, Trigger, text

if TYPE_CHECKING:
    from indexer.rules import Rule

Decision = tuple[int | None, bool]
"""(index into the rules or None, aged): a file without a class, or one that its class excludes, is never aged."""

NO_CLASS: Final[Decision] = (None, False)


class Classifier:
    """The classes of a policy, ready to decide about files; immutable, safe to share between threads that only read.

    `rules` are in the order of the configuration, the first whose `match` covers a path wins. `ignore` are the globs of
    what is not indexed at all. Raises `ConfigError` for a glob that is malformed or that can never match anything.
    """

    def __init__(self, rules: tuple[Rule, ...], ignore: tuple[str, ...] = ()) -> None:
        self.rules = rules
        self._match = tuple(Globs(rule.match, f"class {rule.name!r}: match") for rule in rules)
        self._exclude = tuple(Globs(rule.exclude, f"class {rule.name!r}: exclude") for rule in rules)
        self._ignore = Globs(ignore, "store: ignore")
        self._triggers: dict[tuple[Glob, ...], Trigger] = {}

    def at(self, directory: bytes) -> DirectoryRules:
        """Return what holds for the names directly in `directory` (relative to the root, b"" is the root itself)."""
        place = Place(text(directory))
        default = NO_CLASS
        candidates: list[int] = []
        asked: list[Glob] = []
        for number, match in enumerate(self._match):
            covered, match_globs = match.outcome(place)
            if not covered and not match_globs:
                continue
            excluded, exclude_globs = self._exclude[number].outcome(place)
            candidates.append(number)
            asked += match_globs + exclude_globs
            if covered and default is NO_CLASS:
                default = (number, not excluded)
            if covered and not match_globs:
                break
        ignored, ignore_globs = self._ignore.outcome(place)
        return DirectoryRules(
            self,
            place.prefix,
            default,
            tuple(candidates),
            self._trigger(asked),
            ignored=ignored,
            ignore_trigger=self._trigger(ignore_globs),
        )

    def of(self, path: bytes) -> Decision:
        """Decide about one path relative to the root; for many names of one directory ask `at` once."""
        directory, _, name = path.rpartition(b"/")
        return self.at(directory).of(name)

    def decide(self, path: str, candidates: Iterable[int]) -> Decision:
        """Decide about the decoded `path` by evaluating the rules `candidates` in full."""
        for number in candidates:
            if self._match[number].cover(path):
                return number, not self._exclude[number].cover(path)
        return NO_CLASS

    def ignores_file(self, path: str) -> bool:
        """Tell whether the file at the decoded `path` is not to be indexed."""
        return self._ignore.cover(path)

    def ignores_below(self, directory: str) -> bool:
        """Tell whether everything below the decoded `directory` is ignored, so that it need not be entered.

        With a negated glob (`!keep`) in `ignore` this is never claimed: something below might be wanted again.
        """
        return not self._ignore.negated and self._ignore.cover_below(Place(directory))

    @property
    def ignores(self) -> bool:
        """True when the store ignores anything at all."""
        return bool(self._ignore.globs)

    def _trigger(self, globs: Iterable[Glob]) -> Trigger | None:
        key = tuple(globs)
        if not key:
            return None
        found = self._triggers.get(key)
        if found is None:
            found = self._triggers[key] = Trigger(key)
        return found


class DirectoryRules:
    """The decisions for the names directly in one directory.

    When `constant` is set, `index` and `aged` hold for every name in it and `of` need not be called.
    `ignores_files` False: no file here is ignored; `ignores` False: no directory either.
    """

    __slots__ = (
        "_candidates",
        "_classifier",
        "_default",
        "_ignore_trigger",
        "_ignored",
        "_prefix",
        "_trigger",
        "aged",
        "constant",
        "ignores",
        "ignores_files",
        "index",
    )

    def __init__(
        self,
        classifier: Classifier,
        prefix: str,
        default: Decision,
        candidates: tuple[int, ...],
        trigger: Trigger | None,
        *,
        ignored: bool,
        ignore_trigger: Trigger | None,
    ) -> None:
        self._classifier = classifier
        self._prefix = prefix
        self._default = default
        self._candidates = candidates
        self._trigger = trigger
        self._ignored = ignored
        self._ignore_trigger = ignore_trigger
        self.constant = trigger is None
        self.index, self.aged = default
        self.ignores = classifier.ignores
        self.ignores_files = ignored or ignore_trigger is not None

    def of(self, name: bytes) -> Decision:
        """Return (index of the rule or None, aged) for the file `name`."""
        trigger = self._trigger
        if trigger is None or not trigger.fires(name):
            return self._default
        return self._classifier.decide(self._prefix + text(name), self._candidates)

    def ignored(self, name: bytes, is_dir: bool) -> bool:  # noqa: FBT001 (fixed interface, called per name)
        """Tell whether `name` is not to be indexed; for a directory: whether nothing below it is."""
        if is_dir:
            return self.ignores and self._classifier.ignores_below(self._prefix + text(name))
        trigger = self._ignore_trigger
        if trigger is None or not trigger.fires(name):
            return self._ignored
        return self._classifier.ignores_file(self._prefix + text(name))
