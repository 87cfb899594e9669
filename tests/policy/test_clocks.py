"""Clocks: the youngest of the class's times, never before the file's arrival unless the class says so."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.policy.clocks import clock_of, compile_clock, uses_access
from indexer.rules import Clock, Rule

TIMES: dict[str, Any] = {"mtime": 100, "atime": 200, "ctime": 300, "btime": 50, "first_seen": 250, "used_at": None}


def rule(*clocks: str, floor: bool = False) -> Rule:
    """Make a class with these clocks."""
    return Rule("c", ("**",), clocks=cast("tuple[Clock, ...]", clocks), arrival_floor=floor)


@pytest.mark.parametrize(
    ("clocks", "floor", "changes", "expected"),
    [
        (("mtime",), False, {}, 100),
        (("mtime",), True, {}, 250),
        (("mtime",), True, {"mtime": 260}, 260),
        (("atime",), False, {}, 200),
        (("atime",), False, {"used_at": 220}, 220),
        (("atime",), False, {"used_at": 150}, 200),
        (("ctime",), False, {}, 300),
        (("btime",), False, {}, 50),
        (("btime",), False, {"btime": None}, 250),
        (("mtime", "atime"), False, {}, 200),
        (("mtime", "atime"), True, {}, 250),
        (("mtime", "atime"), True, {"used_at": 900}, 900),
        (("mtime", "btime"), False, {"mtime": 10}, 50),
        (("mtime", "atime", "ctime", "btime"), False, {}, 300),
        (("mtime",), False, {"mtime": -5}, -5),
    ],
)
def test_the_youngest_clock_counts(
    clocks: tuple[str, ...], floor: bool, changes: dict[str, int | None], expected: int
) -> None:
    """Several clocks: all must be old. No birth time: first_seen, never ctime. Arrival is a floor."""
    assert clock_of(rule(*clocks, floor=floor), **{**TIMES, **changes}) == expected


SECONDS = st.integers(-(2**31), 2**40)
SETS = list(chain.from_iterable(combinations(("mtime", "atime", "ctime", "btime"), n) for n in range(1, 5)))


@given(
    clocks=st.sampled_from(SETS), floor=st.booleans(), mtime=SECONDS, used=SECONDS, ctime=SECONDS,
    btime=st.none() | SECONDS, seen=SECONDS,
)  # fmt: skip
def test_the_fast_forms_are_the_general_form(
    clocks: tuple[str, ...], floor: bool, mtime: int, used: int, ctime: int, btime: int | None, seen: int
) -> None:
    """What is spelled out for speed is max() of the chosen times."""
    values = {"mtime": mtime, "atime": used, "ctime": ctime, "btime": seen if btime is None else btime}
    expected = max([values[name] for name in clocks] + ([seen] if floor else []))
    assert compile_clock(rule(*clocks, floor=floor))(mtime, used, ctime, btime, seen, b"") == expected


def test_only_classes_by_access_have_a_lower_bound() -> None:
    """A read moves the clock of a class that uses atime, and of no other."""
    assert (uses_access(rule("mtime", "atime")), uses_access(rule("mtime", "ctime"))) == (True, False)
