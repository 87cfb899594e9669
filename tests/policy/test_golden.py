"""Golden plans: policy × tree × now → plan, each in one file that a person can read (tests/golden/plans/*.txt).

To accept a change made on purpose: INDEXER_GOLDEN=write scripts/test tests/policy/test_golden.py, then read the diff.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.policy.classes import Classifier
from indexer.policy.plan import Plan, plan
from indexer.policy.quota import Holding, order_key
from indexer.records import IndexedFile
from indexer.rules import Guards, Quota, Rule
from indexer.units import format_size, format_time, parse_duration, parse_size, parse_time, show_name
from tests.policy.declared import candidates, indexed
from tests.policy.test_quota import holdings_of

GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "plans").glob("*.txt"))
RULER = "\n------------------------------------------------------------------------------------------ plan\n"
DURATIONS = {"ttl", "min_age", "trash_ttl"}


def rule_of(entry: dict[str, Any]) -> Rule:
    """Read a `[[class]]` as the configuration would."""
    values: dict[str, Any] = {key: parse_duration(value) if key in DURATIONS else value for key, value in entry.items()}
    values["clocks"] = tuple(values.pop("clock", ["mtime"]))
    values["match"] = tuple(values["match"])
    values["exclude"] = tuple(values.get("exclude", ()))
    if "quota" in values:
        sizes = {key: parse_size(value) for key, value in values["quota"].items() if key in {"high", "low"}}
        values["quota"] = Quota(**{**values["quota"], **sizes})
    return Rule(**values)


def planned(text: str) -> Plan:
    """Plan what the upper part of a golden file declares."""
    given = tomllib.loads(text)
    now = parse_time(given["now"], 0)
    rules = tuple(map(rule_of, given["class"]))
    classifier = Classifier(rules)
    files = []
    for path, facts in given["files"].items():
        times = {key: parse_time(value, now) for key, value in facts.items() if key != "size"}
        files.append(indexed(path, classifier, **times, size=parse_size(facts.get("size", "1000B"))))
    guards: dict[str, Any] = {
        key: parse_size(value) if key == "max_bytes" else value for key, value in given.get("guards", {}).items()
    }
    held = [path.encode() for path in given.get("held", [])]
    return plan(
        candidates(files, rules),
        guards=Guards(**guards),
        live_files=given.get("live_files", len(files)),
        now=now,
        blockers=lambda file: "held" if any(file.path.startswith(path) for path in held) else None,
        rules=rules,
        recent=given.get("recent"),
        limit=given.get("limit"),
        holdings=[holding for rule in rules if rule.quota for holding in holdings_of(rule, _in(files, rule))],
        files_of=lambda holding: sorted(_of(holding, _in(files, holding.rule)), key=order_key(holding.rule)),
    )


def _in(files: list[IndexedFile], rule: Rule) -> list[IndexedFile]:
    return [file for file in files if file.class_name == rule.name]


def _of(holding: Holding, files: list[IndexedFile]) -> list[IndexedFile]:
    return [f for f in files if holding.child is None or holding.rule.child_of(f.directory) == holding.child]


def lines(found: Plan) -> Iterator[str]:
    """Write a plan for eyes."""
    for action in found.actions:
        path = show_name(action.file.path)
        when = f"since {format_time(action.expires_at or 0)}" if action.reason == "expired" else ""
        yield f"{action.action:<7} {path:<28} {action.rule.name:<10} {action.reason} {when}".rstrip()
    for holding in found.quotas:
        what = holding.rule.name if holding.child is None else show_name(holding.child)
        yield f"over    {what} holds {holding.used.files} files, {format_size(holding.used.allocated)}"
    if not found.actions:
        yield "nothing goes"
    for blocker, count in found.kept.items():
        yield f"kept    {count} {blocker}"
    totals = found.totals()
    yield f"total   {totals['files']} of {found.due} due, {format_size(totals['bytes'])}"
    if found.truncated:
        yield "truncated to the oldest part"
    if found.refused:
        yield f"REFUSED by {found.refused.guard}: {found.refused.message}"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    """The plan for this policy, tree and moment is exactly the one in the file."""
    given, _, expected = path.read_text().partition(RULER)
    actual = "".join(f"{line}\n" for line in lines(planned(given)))
    if os.environ.get("INDEXER_GOLDEN") == "write":
        path.write_text(given + RULER + actual)
    assert expected == actual


def test_there_are_golden_plans() -> None:
    """A moved folder does not turn these tests into nothing."""
    assert len(GOLDEN) >= 8
