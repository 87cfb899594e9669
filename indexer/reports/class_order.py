"""Which classes share files, so that their order in the configuration decides, and which never get one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from indexer.config.globs import covers, prefix_of
from indexer.reports.machine import Check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.rules import Rule


class Overlap(NamedTuple):
    """Two classes that can match the same path: the first of the file has it."""

    first: str
    later: str


def class_check(rules: Sequence[Rule], ignored: Sequence[str]) -> Check:
    """Check that every class can get files, and say where the order of the file decides who gets them."""
    never = [rule.name for place, rule in enumerate(rules) if _hidden(rule, rules[:place], ignored)]
    shared = [pair for pair in overlaps(rules) if pair.later not in never]
    parts = [", ".join(rule.name for rule in rules) or "none: nothing is ever removed"]
    if never:
        parts.append(f"never applies, since what stands before it matches all of it: {', '.join(never)}")
    if shared:
        told = ", ".join(f"{pair.first} before {pair.later}" for pair in shared)
        parts.append(f"overlapping, so that their order decides: {told}")
    return Check(
        "classes",
        ok=not never,
        detail="; ".join(parts),
        remedy="put the narrower class before the wider one, or remove it" if never else "",
    )


def overlaps(rules: Sequence[Rule]) -> list[Overlap]:
    """Return the pairs of classes that can match the same path, as far as the plain beginnings of their globs tell."""
    return [
        Overlap(first.name, later.name)
        for place, later in enumerate(rules)
        for first in rules[:place]
        if any(_meet(one, other) for one in first.match for other in later.match)
    ]


def _hidden(rule: Rule, earlier: Sequence[Rule], ignored: Sequence[str]) -> bool:
    before = [*ignored, *(glob for other in earlier for glob in other.match)]
    return all(any(covers(other, glob) for other in before) for glob in rule.match)


def _meet(one: str, other: str) -> bool:
    """True unless both lie below plain directories of which neither is, or lies in, the other."""
    first, second = _beginning(one), _beginning(other)
    return (first + "/").startswith(second + "/") or (second + "/").startswith(first + "/") or not (first and second)


def _beginning(glob: str) -> str:
    """Return the plain directory below which all lies that the glob matches; "": anywhere."""
    plain = prefix_of(glob)
    if plain is not None:
        return plain
    parts = glob.removeprefix("/").split("/")
    if len(parts) == 1 and not glob.startswith("/"):
        return ""  # without a slash it matches at any depth (gitignore(5))
    kept: list[str] = []
    for part in parts[:-1]:
        if any(letter in "*?[\\" for letter in part):
            break
        kept.append(part)
    return "/".join(kept)
