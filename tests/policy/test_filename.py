"""The clock `filename`: the time a name bears; what bears none is kept unless the class says mtime."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.policy.classes import Classifier
from indexer.policy.clocks import clock_of, file_clock
from indexer.policy.explain import explain
from indexer.policy.filename import filename_clock, time_in_name
from indexer.policy.plan import plan, recheck
from indexer.records import NEVER
from indexer.rules import FilenameTime, Guards, Rule
from tests.policy.declared import candidates, indexed

FRAME = FilenameTime(r"_(\d{8}_\d{6})", "%Y%m%d_%H%M%S")
BERLIN = FilenameTime(r"_(\d{8}_\d{6})", "%Y%m%d_%H%M%S", tz="Europe/Berlin")
DAY = 86_400
AT = 1_705_329_022
"""2024-01-15T14:30:22Z."""


@pytest.mark.parametrize(
    ("how", "name", "expected"),
    [
        (FRAME, b"frame_20240115_143022.jpg", AT),
        (BERLIN, b"frame_20240115_143022.jpg", AT - 3600),
        (BERLIN, b"frame_20240715_143022.jpg", 1_721_046_622),
        (FRAME, b"frame_20240230_143022.jpg", None),
        (FRAME, b"frame_20240115_256199.jpg", None),
        (FRAME, b"frame_19691231_235959.jpg", None),
        (FRAME, b"frame_00010101_000000.jpg", None),
        (FRAME, b"frame.jpg", None),
        (FRAME, b"caf\xff_20240115_143022.jpg", AT),
        (FilenameTime(r"(\d{4}-\d\d-\d\d)", "%Y-%m-%d"), b"backup-2024-01-15.tar", 1_705_276_800),
        (FilenameTime(r"@(\S+)\.", "%Y-%m-%dT%H:%M:%S%z", tz="Europe/Berlin"), b"a@2024-01-15T14:30:22+0000.x", AT),
        (FilenameTime(r"(x)?_", "%Y%m%d"), b"_", None),
    ],
)
def test_the_time_that_a_name_bears(how: FilenameTime, name: bytes, expected: int | None) -> None:
    """By the class's zone unless the text has its own; impossible times and those before 1970 are none."""
    assert time_in_name(how)(name) == expected


def test_hours_that_a_change_of_the_clocks_skips_or_repeats_are_times_all_the_same() -> None:
    """02:30 twice in October is taken the first time, 02:30 never in March by the offset before."""
    time = time_in_name(BERLIN)
    assert time(b"x_20241027_023000") == 1_729_989_000
    assert time(b"x_20240331_023000") == 1_711_848_600


@pytest.mark.parametrize(
    ("otherwise", "name", "expected"),
    [
        ("keep", b"frame.jpg", NEVER),
        ("mtime", b"frame.jpg", 100),
        ("keep", b"frame_20240230_143022.jpg", NEVER),
        ("mtime", b"frame_20240230_143022.jpg", 100),
        ("keep", b"frame_20240115_143022.jpg", AT),
        ("mtime", b"frame_20240115_143022.jpg", 100),
    ],
)
def test_a_name_without_a_time_and_a_time_to_come(otherwise: str, name: bytes, expected: int) -> None:
    """A file that had arrived by 1970 bore a time to come: `keep` keeps it until then, `mtime` does not believe it."""
    how = FilenameTime(FRAME.regex, FRAME.format, otherwise=otherwise)  # type: ignore[arg-type]
    assert filename_clock(how)(name, 100, 200, 300) == expected


@given(at=st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), zone=st.sampled_from(["UTC", "Asia/Tokyo"]))  # noqa: DTZ001
def test_what_is_written_into_a_name_is_read_from_it(at: datetime, zone: str) -> None:
    """For every time to the second, in zones without changes of the clocks (Tokyo's last was in 1951)."""
    how = FilenameTime(FRAME.regex, FRAME.format, tz=zone)
    name = f"frame_{at.year:04}{at:%m%d_%H%M%S}.jpg".encode()
    assert time_in_name(how)(name) == int(at.replace(microsecond=0, tzinfo=ZoneInfo(zone)).timestamp())


RULE = Rule("frames", ("frames/**",), ttl=30 * DAY, clocks=("filename",), filename_time=FRAME, arrival_floor=False)
BOTH = Rule("both", ("both/**",), ttl=DAY, clocks=("mtime", "filename"), filename_time=FRAME)
CLASSIFIER = Classifier((RULE, BOTH))


def test_a_plan_by_names() -> None:
    """Old by its name goes, however new it is; without a time it stays and is counted; the second look agrees."""
    now = AT + 31 * DAY
    files = [
        indexed("frames/frame_20240115_143022.jpg", CLASSIFIER, mtime=now - 2 * 3600),
        indexed("frames/frame_20240130_143022.jpg", CLASSIFIER, mtime=0),
        indexed("frames/frame.jpg", CLASSIFIER, mtime=0),
    ]
    found = plan(candidates(files, (RULE, BOTH)), guards=Guards(max_fraction=1), live_files=3, now=now)
    assert [action.file.name for action in found.actions] == [b"frame_20240115_143022.jpg"]
    assert found.actions[0].clock_at == AT
    said = [recheck(RULE, CLASSIFIER, file.path, file, now) for file in files]
    assert said == [None, "not_due", "not_due"]


def test_several_clocks_with_a_name() -> None:
    """The youngest counts, the arrival too; without a time the file is kept whatever the others say."""
    name, times = b"x_20240115_143022", cast("dict[str, Any]", {"atime": 0, "ctime": 0, "btime": None})
    assert clock_of(BOTH, mtime=AT + 5, first_seen=AT + 9, name=name, **times) == AT + 9
    assert clock_of(BOTH, mtime=AT + 5, first_seen=0, name=name, **times) == AT + 5
    assert clock_of(BOTH, mtime=5, first_seen=9, name=name, **times) == AT
    assert clock_of(BOTH, mtime=5, first_seen=9, name=b"x", **times) == NEVER


def test_explain_says_that_a_name_bears_no_time() -> None:
    """There is no date, and the reason is a word of its own."""
    said = explain(indexed("frames/x", CLASSIFIER, mtime=0), RULE, aged=True, now=AT)
    assert (said.clock_at, said.expires_at, said.clocks, said.blockers) == (None, None, {}, ("no_time",))
    said = explain(indexed("frames/x_20240115_143022", CLASSIFIER, mtime=0), RULE, aged=True, now=AT + 40 * DAY)
    assert (said.clock_at, said.clocks, said.blockers) == (AT, {"filename": AT}, ())


def test_the_stored_clock_is_the_one_that_is_computed() -> None:
    """`IndexedFile` carries all that the clock needs, so that the plan computes what the index stored."""
    from indexer.policy.clocks import compile_clock

    file = indexed("frames/x_20240115_143022", CLASSIFIER, mtime=0)
    assert file.clock == file_clock(compile_clock(RULE), file) == AT
