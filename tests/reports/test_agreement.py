"""One truth: the index's SQL, the policy's functions and a definition written down anew name the same files."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.policy.plan import plan
from indexer.records import NEVER
from indexer.rules import Clock, FilenameTime, Guards, Rule
from tests.reports.built import DAY, NOW, Built, reader

CLOCKS: list[tuple[str, ...]] = [("mtime",), ("atime",), ("ctime",), ("btime",), ("mtime", "atime"), ("atime", "btime")]
CLOCKS += [("filename",), ("mtime", "filename")]
NAMED = FilenameTime(r"_(\d{14})_", "%Y%m%d%H%M%S")
RULES = tuple(
    Rule(
        f"{'-'.join(clocks)}-{floor}",
        (f"{'-'.join(clocks)}-{floor}/**",),
        ttl=2 * DAY,
        clocks=cast("tuple[Clock, ...]", clocks),
        arrival_floor=floor,
        min_age=0,
        filename_time=NAMED if "filename" in clocks else None,
    )
    for clocks in CLOCKS
    for floor in (True, False)
)
AGE = st.integers(0, 4 * DAY) | st.sampled_from([2 * DAY - 1, 2 * DAY, 2 * DAY + 1])
FILE = st.fixed_dictionaries(
    {
        "rule": st.sampled_from(RULES),
        "age": AGE,
        "atime": AGE,
        "ctime": AGE,
        "first_seen": AGE,
        "used": st.none() | AGE,
        "named": st.none() | AGE | st.just(-DAY),
        "birth_after": st.none() | st.integers(-DAY * 10**9, 10**9 - 1),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=st.lists(FILE, min_size=1, max_size=30))
def test_what_is_expired_by_sql_by_plan_and_by_definition(files: list[dict[str, Any]]) -> None:
    """For every clock, with and without the floor of the arrival, to the second."""
    expected = set()
    with tempfile.TemporaryDirectory() as place:
        built = Built(Path(place) / "index.db", RULES)
        for number, given_file in enumerate(files):
            facts = dict(given_file)
            rule: Rule = facts.pop("rule")
            times = {name: NOW - facts.pop(name) for name in ("atime", "ctime", "first_seen")}
            named = None if (age := facts.pop("named")) is None else NOW - age
            bears = "" if named is None else f"_{datetime.fromtimestamp(named, UTC):%Y%m%d%H%M%S}_"
            path = f"{rule.name}/{number}{bears}"
            built.file(path, **facts, **times)
            birth = facts["birth_after"]
            values = {
                "mtime": NOW - facts["age"],
                "atime": max(times["atime"], times["atime"] if facts["used"] is None else NOW - facts["used"]),
                "ctime": times["ctime"],
                "btime": times["first_seen"] if birth is None else (times["ctime"] * 10**9 + birth) // 10**9,
            }
            values["filename"] = NEVER if named is None else named
            clock = max([values[name] for name in rule.clocks] + [times["first_seen"]] * rule.arrival_floor)
            if NOW - clock > 2 * DAY:
                expected.add(path)
        with reader(built.close()) as index:
            by_sql = {row[0] for row in index.connection.execute("SELECT path FROM expired")}
            shown = {row[0] for row in index.connection.execute("SELECT path FROM files WHERE expires_at < now()")}
            found = plan(
                ((rule, file) for rule in RULES for file in index.due(rule.name, NOW - 2 * DAY)),
                guards=Guards(max_fraction=1.0),
                live_files=len(files),
                now=NOW,
                rules=RULES,
            )
    assert by_sql == expected
    assert shown == expected
    assert {action.file.path.decode() for action in found.actions} == expected
