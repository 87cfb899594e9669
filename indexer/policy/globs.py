"""One list of gitignore-style globs, each split into what its directory decides and what it asks of the name.

The language is pathspec's: its translation to regular expressions is used as it is, with one correction (a newline in a
name is an ordinary character). What is ours is speed: most directories decide alone, and need no work per file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from indexer.errors import ConfigError

CODEC = ("utf-8", "surrogateescape")
"""How the globs see bytes: UTF-8, each undecodable byte as one lone surrogate (PEP 383)."""

_DIRECTORY_MARK = "(?P<ps_d>/)"
_OPEN_END = f"(?:{_DIRECTORY_MARK}|$)"
# A bracket expression that provably cannot match "/": pathspec lets `[!a]` and `[+-9]` match one, which breaks the
# reasoning by components; such patterns are simply evaluated in full for every name.
_SAFE_BRACKET = re.compile(r"\[(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|[A-Za-z0-9_.])+\]")
_SPECIAL = frozenset("*?[\\")
_REMEDY = "write a gitignore-style glob relative to the store, such as uploads/** or **/*.tmp"
_EVERYTHING = re.compile("").match("")


def text(path: bytes) -> str:
    """Return `path` as the globs see it."""
    return path.decode(*CODEC)


class Place:
    """A directory as the globs need it: its path with a final slash (the root: ""), its depth and first component."""

    __slots__ = ("depth", "first", "prefix")

    def __init__(self, directory: str) -> None:
        self.prefix = directory + "/" if directory else ""
        self.depth = self.prefix.count("/")
        self.first = directory.partition("/")[0]


class Globs:
    """An ordered list of globs with gitignore's semantics: the last that matches decides, `!` negates."""

    __slots__ = ("globs", "negated")

    def __init__(self, patterns: tuple[str, ...], where: str) -> None:
        self.globs = tuple(Glob(pattern, where) for pattern in patterns)
        self.negated = any(not glob.include for glob in self.globs)

    def cover(self, path: str) -> bool:
        """Evaluate in full, as `pathspec.GitIgnoreSpec.match_file` does."""
        if not self.negated:
            return any(glob.whole.search(path) for glob in self.globs)
        return _last_word((glob.include, glob.whole.search(path)) for glob in self.globs)

    def cover_below(self, place: Place) -> bool:
        """Evaluate for a name in `place` that no glob asks for: what the directory alone decides."""
        return _last_word((glob.include, glob.below(place)) for glob in self.globs)

    def outcome(self, place: Place) -> tuple[bool, tuple[Glob, ...]]:
        """Return the outcome for an ordinary name in `place`, and the globs that may decide otherwise by the name."""
        if not self.globs:
            return False, ()
        covered = self.cover_below(place)
        if covered and not self.negated:
            return True, ()
        return covered, tuple(glob for glob in self.globs if glob.asks_in(place))


def _last_word(results: Iterable[tuple[bool, re.Match[str] | None]]) -> bool:
    """Let the last match decide, except that `!` on a parent directory does not overrule a match of the file itself.

    This is the order of git, and of pathspec's re2 and hyperscan backends; its pure Python backend reads the list
    backwards and differs where a negated glob comes *before* the directory that it is an exception to.
    """
    covered, strength = False, 0
    for include, match in results:
        if match is not None:
            by = 2 if match.lastgroup is None else 1
            if by >= strength or (include and by == 1):
                covered, strength = include, by
    return covered


class Glob:
    """One glob, split into what its directory decides and what it asks of the name."""

    __slots__ = ("_anchor", "_depth", "_directory", "_everything", "_head", "_opaque", "include", "last", "whole")

    def __init__(self, pattern: str, where: str) -> None:
        regex, self.include = _translate(pattern, where)
        self.whole = _compile(regex, where)
        self.last: str | None = None
        """What it asks of the name, one glob without a slash; None: nothing, the directory alone decides."""
        self._directory = self.whole
        self._anchor: str | None = None  # the literal first component that every match starts with
        self._head: re.Pattern[str] | None = None  # what the directory must look like for the name to be asked
        self._depth: int | None = None  # … and how deep it must be
        self._everything = regex == "."  # no question left: any name will do
        body = pattern if pattern.endswith("\\ ") else pattern.rstrip()
        segments = body.removeprefix("!").split("/")
        self._opaque = not _is_safe(body) or "" in segments[1:-1]
        if not self._opaque:
            rooted = not segments[0] or (len(segments) > 1 and segments[1:] != [""])
            first = segments[0] or segments[1]
            self._anchor = first if rooted and _is_literal(first) else None
        if regex.endswith(_OPEN_END):
            # `foo/` is `foo` with something below it: the same regular expression ended by a slash.
            self._directory = _compile(_translate(body + "/", where)[0], where)
            self.last = segments[-1]
            self._split(segments[1:-1] if not segments[0] else segments[:-1] or ["**"], where)
        else:
            self._opaque = not self._everything and not regex.endswith(("/", _DIRECTORY_MARK))

    def _split(self, head: list[str], where: str) -> None:
        if self._opaque:
            return
        if "**" not in head:
            self._depth = len(head)
        while head and head[-1] == "**":
            head.pop()
        if head:
            anchor = "" if head[0] == "**" else "/"
            self._head = _compile(_translate(anchor + "/".join(head) + "/", where)[0], where)
        self._everything = self.last == "*" and "**" not in head

    def below(self, place: Place) -> re.Match[str] | None:
        """Return how this covers everything in `place`, whatever its name; None: it does not."""
        if self._anchor is not None and self._anchor != place.first:
            return None
        if self._everything and self._reaches(place):
            return _EVERYTHING
        return self._directory.search(place.prefix)

    def asks_in(self, place: Place) -> bool:
        """Tell whether a name in `place` could make a difference; may err on the side of True."""
        if self._opaque:
            return True
        if self.last is None or self._everything:
            return False
        return (self._anchor is None or not place.first or self._anchor == place.first) and self._reaches(place)

    def _reaches(self, place: Place) -> bool:
        if self._depth is not None and self._depth != place.depth:
            return False
        return self._head is None or self._head.search(place.prefix) is not None


class Trigger:
    """Tells, as cheaply as it can, whether a name could match one of several globs: literal ones by one set look-up.

    May err on the side of True; a name that does not fire it gets its directory's decision.
    """

    __slots__ = ("_always", "_names", "_prefixes", "_regex", "_suffixes")

    def __init__(self, globs: Iterable[Glob]) -> None:
        names, prefixes, suffixes, others = set(), set(), set(), set()
        self._always = False
        for glob in globs:
            last = glob.last
            if last is None or not _is_safe(last):
                self._always = True
            elif _is_literal(last):
                names.add(last.encode(*CODEC))
            elif last[0] == "*" and _is_literal(last[1:]):
                suffixes.add(last[1:].encode(*CODEC))
            elif last[-1] == "*" and _is_literal(last[:-1]):
                prefixes.add(last[:-1].encode(*CODEC))
            else:
                others.add(_translate("/" + last, "")[0].replace(_DIRECTORY_MARK, "/"))
        self._names = frozenset(names)
        self._prefixes = tuple(prefixes)
        self._suffixes = tuple(suffixes)
        self._regex = _compile("|".join(f"(?:{regex})" for regex in sorted(others)), "") if others else None

    def fires(self, name: bytes) -> bool:
        """Tell whether `name` needs a decision of its own."""
        return (
            name in self._names
            or (bool(self._suffixes) and name.endswith(self._suffixes))
            or (bool(self._prefixes) and name.startswith(self._prefixes))
            or (self._regex is not None and self._regex.search(text(name)) is not None)
            or self._always
        )


def _is_safe(pattern: str) -> bool:
    return "[" not in _SAFE_BRACKET.sub("", pattern)


def _is_literal(segment: str) -> bool:
    return _SPECIAL.isdisjoint(segment)


def _translate(pattern: str, where: str) -> tuple[str, bool]:
    """Return (regular expression, include) by pathspec; raises `ConfigError` where there is nothing to match."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # 10 ms of start-up, measured

    try:
        regex, include = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    except ValueError as error:
        raise ConfigError(f"{where}: {pattern!r} is not a glob ({error})", remedy=_REMEDY) from error
    if regex is None or include is None:
        raise ConfigError(f"{where}: {pattern!r} can never match anything", remedy=_REMEDY)
    return regex, include


def _compile(regex: str, where: str) -> re.Pattern[str]:
    """Compile with newlines as ordinary characters: a name may contain any byte but "/" and NUL."""
    try:
        return re.compile(regex.replace("|$)", r"|\Z)"), re.DOTALL)
    except re.error as error:
        raise ConfigError(f"{where}: a glob that is no valid pattern ({error})", remedy=_REMEDY) from error
