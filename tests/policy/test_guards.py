"""Guards beside the fraction: a clock that stepped, a plan that would leave nothing, and setting one of them aside."""

from __future__ import annotations

import pytest

from indexer.policy.classes import Classifier
from indexer.policy.guards import Moment, clock_breach
from indexer.policy.plan import plan
from indexer.rules import Guards, Rule
from tests.policy.declared import candidates, indexed

DAY = 86_400
NOW = 1_800_000_000
LAST = Moment(NOW, "boot", 1000)


@pytest.mark.parametrize(
    ("now", "refused"),
    [
        (Moment(NOW + 7 * DAY, "boot", 1000 + 7 * DAY), False),
        (Moment(NOW + 7 * DAY, "boot", 1000 + 6 * DAY), False),
        (Moment(NOW + 7 * DAY + 1, "boot", 1000 + 6 * DAY), True),
        (Moment(NOW - 3600, "boot", 1000), False),
        (Moment(NOW - DAY, "boot", 1001), True),
        (Moment(NOW + 300 * DAY, "another", 10), False),
        (Moment(NOW - DAY, "another", 10), False),
        (Moment(NOW - DAY - 1, "another", 10), True),
        (Moment(NOW - DAY - 1, "", 0), True),
        (Moment(NOW + 300 * DAY, "", 0), False),
    ],
)
def test_a_clock_that_stepped(now: Moment, refused: bool) -> None:
    """Within a boot by the boot clock, in both directions; across boots only back."""
    found = clock_breach(LAST, now, Guards())
    assert (found is not None and found.guard == "max_clock_step") == refused


RULE = Rule("c", ("c/**",), ttl=DAY, max_fraction=1.0)
CLASSIFIER = Classifier((RULE,))


@pytest.mark.parametrize(
    ("guards", "files", "override", "refused"),
    [
        (Guards(min_files=5), 6, None, "everything"),
        (Guards(min_files=5), 6, "everything", None),
        (Guards(min_files=5), 6, "max_clock_step", "everything"),
        (Guards(min_files=6), 6, None, None),
        (Guards(min_files=5, max_fraction=1), 6, None, None),
    ],
)
def test_a_plan_that_would_leave_nothing(guards: Guards, files: int, override: str | None, refused: str | None) -> None:
    """Though each class allows it: unless the store's own max_fraction says 1, or somebody sets the guard aside."""
    made = [indexed(f"c/{n}", CLASSIFIER, mtime=NOW - 2 * DAY) for n in range(files)]
    found = plan(candidates(made, (RULE,)), guards=guards, live_files=files, now=NOW, rules=(RULE,), override=override)
    assert (found.refused.guard if found.refused else None) == refused


def test_a_guard_that_has_spoken_comes_first() -> None:
    """A stepped clock is told before what it leads to; where nothing is due it refuses nothing."""
    step = clock_breach(LAST, Moment(NOW - 9 * DAY, "boot", 1000), Guards())
    made = [indexed("c/1", CLASSIFIER, mtime=NOW - 2 * DAY)]
    found = plan(candidates(made, (RULE,)), guards=Guards(), live_files=1, now=NOW, refusal=step)
    assert found.refused == step
    assert plan([], guards=Guards(), live_files=1, now=NOW, refusal=step).refused is None
