"""Guards: what refuses a whole plan, and what cuts it to its oldest part. Pure, and checked before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from indexer.policy.reasons import Guard
from indexer.rules import Rule

if TYPE_CHECKING:
    from indexer.rules import Guards


class Refusal(NamedTuple):
    """Which guard refuses the run, in one sentence, and what to do."""

    guard: str
    message: str
    remedy: str


class Share(NamedTuple):
    """What a plan takes of one class: `planned` files now, `recent` files by the runs of the last 24 hours."""

    rule: Rule
    planned: int
    recent: int = 0


def shares_of(planned: Mapping[str, int], recent: Mapping[str, int], rules: Mapping[str, Rule]) -> list[Share]:
    """Return the share of each class that has files in the plan or had some in the last 24 hours, by name.

    A class that is no longer configured has no max_fraction of its own: it counts with all others.
    """
    return [
        Share(rules.get(name) or Rule(name, ()), planned.get(name, 0), recent.get(name, 0))
        for name in sorted({*planned, *recent})
    ]


def fraction_breach(
    shares: Iterable[Share], *, guards: Guards, live_files: int, limit: int | None = None
) -> Refusal | None:
    """Return the refusal of a plan that takes too large a share of the store, or None.

    A share is measured against the files that were live 24 hours ago: `live_files` and those removed since. It counts
    once more than `min_files` files are concerned. A class with a `max_fraction` of its own answers for itself; all
    others answer together to the store's. `limit` is what somebody asked for by --limit: the run concerns no more
    files than that. `max_files` is no such limit: a wrong clock or policy would slip through it night by night.
    """
    groups: dict[str | None, list[Share]] = {}
    for share in shares:
        groups.setdefault(share.rule.name if share.rule.max_fraction is not None else None, []).append(share)
    live_before = live_files + sum(share.recent for group in groups.values() for share in group)
    for name, group in groups.items():
        own = group[0].rule.max_fraction
        fraction = guards.max_fraction if own is None else own
        planned = sum(share.planned for share in group)
        recent = sum(share.recent for share in group)
        concerned = recent + (planned if limit is None else min(planned, limit))
        base = max(live_before, concerned)
        if planned and concerned > guards.min_files and concerned > fraction * base:
            return _refusal(name, concerned, recent, base, fraction)
    return None


def _refusal(name: str | None, concerned: int, recent: int, base: int, fraction: float) -> Refusal:
    whose = "" if name is None else f"class {name!r}: "
    before = f" (with {recent:,} of the last 24 hours)" if recent else ""
    key = "max_fraction in [guards]" if name is None else "max_fraction of the class"
    return Refusal(
        Guard.MAX_FRACTION,
        f"{whose}{concerned:,} of {base:,} files would go{before}, {concerned / base * 100:.3g} % of the store: more"
        f" than max_fraction = {fraction:g}",
        f"look at `indexer plan`; if it is what you want, raise {key}, or go in steps: expire with --class, --under or"
        " --limit",
    )


class Moment(NamedTuple):
    """One moment by the clocks of a machine."""

    wall: int
    """Unix seconds."""
    boot: str
    """Which boot; "" where that cannot be known."""
    up: int
    """Seconds since the boot, suspension included."""


def clock_breach(last: Moment, now: Moment, guards: Guards) -> Refusal | None:
    """Return the refusal after a step of the wall clock by more than `max_clock_step` since `last`, or None.

    Within one boot the boot clock tells how far the wall clock should have come; across boots only that it cannot have
    gone back: a machine may have been off for a year.
    """
    if last.boot and last.boot == now.boot:
        step = (now.wall - last.wall) - (now.up - last.up)
    else:
        step = min(now.wall - last.wall, 0)
    if abs(step) <= guards.max_clock_step:
        return None
    return Refusal(
        Guard.CLOCK_STEP,
        f"the wall clock went {'forward' if step > 0 else 'back'} by {abs(step):,} s since the last run, more than"
        f" max_clock_step = {guards.max_clock_step} s",
        "set the clock right; if it is right now: indexer cleanup --override max_clock_step",
    )


def everything_breach(planned: int, live_files: int, guards: Guards) -> Refusal | None:
    """Return the refusal of a plan that would leave nothing, whatever single classes allow, or None."""
    if planned < max(live_files, 1) or planned <= guards.min_files or guards.max_fraction >= 1:
        return None
    return Refusal(
        Guard.EVERYTHING,
        f"all {live_files:,} files of the store would go",
        "look at `indexer plan`; if it is what you want: indexer cleanup --override everything",
    )
