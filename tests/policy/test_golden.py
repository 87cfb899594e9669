"""Golden plans: policy × tree × now → plan, each in one file that a person can read (tests/golden/plans/*.txt).

To accept a change made on purpose: INDEXER_GOLDEN=write scripts/test tests/policy/test_golden.py, then read the diff.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.policy.classes import Classifier
from indexer.policy.plan import Plan, plan
from indexer.policy.quota import Holding, Used, order_key
from indexer.policy.units import rows, unit_key
from indexer.policy.watermark import Pressure, Room, give_way, shortage
from indexer.records import IndexedFile
from indexer.rules import FilenameTime, Guards, MinFree, Quota, Rule, Shares, Watermark
from indexer.units import format_size, format_time, parse_duration, parse_size, parse_time, show_name, show_text
from tests.policy.declared import candidates, indexed, units
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
    if "filename_time" in values:
        values["filename_time"] = FilenameTime(**values["filename_time"])
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

    def blocker(file: IndexedFile) -> str | None:
        return "held" if any(file.path.startswith(path) for path in held) else None

    made = plan(
        candidates(files, rules),
        guards=Guards(**guards),
        live_files=given.get("live_files", len(files)),
        now=now,
        blockers=blocker,
        rules=rules,
        recent=given.get("recent"),
        limit=given.get("limit"),
        holdings=[holding for rule in rules if rule.quota for holding in holdings_of(rule, _in(files, rule))],
        files_of=lambda holding: _in_order(holding, files),
    )
    return made if "watermark" not in given else under_pressure(made, given, rules, files, blocker)


def under_pressure(
    made: Plan, given: dict[str, Any], rules: tuple[Rule, ...], files: list[IndexedFile], blocker: Any
) -> Plan:
    """Add what a watermark takes of what the plan leaves; `[disk]` says how full it is once that has gone."""
    mark = given["watermark"]
    sizes = {key: parse_size(value) for key, value in given["disk"].items() if key in {"used", "available"}}
    room = Room(**sizes, inodes=given["disk"].get("inodes", 0), inodes_free=given["disk"].get("inodes_free", 0))
    limits = {key: Shares(**mark[key]) for key in ("space", "inodes") if key in mark}
    free = {key: parse_size(value) for key, value in mark.get("min_free", {}).items()}
    watermark = Watermark(
        tuple(mark["order"]), limits.get("space"), MinFree(**free) if free else None, limits.get("inodes")
    )
    short = shortage(watermark, room)
    if short is None:
        return made
    gone = {action.file.path for action in made.actions}
    left = [file for file in files if file.path not in gone]
    by_name = {rule.name: rule for rule in rules}
    kept = dict(made.kept)

    def keep(word: str) -> None:
        kept[word] = kept.get(word, 0) + 1

    more = tuple(
        give_way(
            [by_name[name] for name in watermark.order],
            Used(short.files, short.bytes),
            lambda rule: _in_order(Holding(rule, Used()), left),
            now=made.now,
            blockers=blocker,
            on_keep=keep,
        )
    )
    claimed = Used(len(more), sum(action.file.allocated for action in more))
    pressure = Pressure("", short, claimed=claimed)
    return replace(made, actions=(*made.actions, *more), due=made.due + len(more), kept=kept, pressure=(pressure,))


def _in_order(holding: Holding, files: list[IndexedFile]) -> list[Any]:
    """Return what of a class or child gives way, in its order."""
    rule = holding.rule
    if rule.unit == "child":
        whole = [one for one in units(files, rule) if holding.child in {None, one.path}]
        return sorted(whole, key=unit_key(rule))
    return sorted(_of(holding, _in(files, rule)), key=order_key(rule))


def _in(files: list[IndexedFile], rule: Rule) -> list[IndexedFile]:
    return [file for file in files if file.class_name == rule.name]


def _of(holding: Holding, files: list[IndexedFile]) -> list[IndexedFile]:
    return [f for f in files if holding.child is None or holding.rule.child_of(f.directory) == holding.child]


def lines(found: Plan) -> Iterator[str]:
    """Write a plan for eyes."""
    for row in rows(found.actions):
        path = show_text(row["path"]) + (f"/ ({row['files']} files)" if "files" in row else "")
        when = f"since {format_time(row['expires_at'] or 0)}" if row["reason"] == "expired" else ""
        yield f"{row['action']:<7} {path:<28} {row['class']:<10} {row['reason']} {when}".rstrip()
    for pressure in found.pressure:
        short = pressure.shortage
        need = [format_size(short.bytes)] * (short.bytes > 0) + [f"{short.files} inodes"] * (short.files > 0)
        end = "met" if not _missing(pressure) else "not met"
        yield f"full    {short.mark}: needs {' and '.join(need)}, {end}"
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


def _missing(pressure: Pressure) -> bool:
    short, claimed = pressure.shortage, pressure.claimed
    return claimed.allocated < short.bytes or claimed.files < short.files


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
    assert len(GOLDEN) >= 17
