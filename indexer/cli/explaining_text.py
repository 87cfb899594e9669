"""What an explanation looks like to people: plain values in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.cli.words import span, when
from indexer.policy.reasons import Blocker, Guard, Reason
from indexer.units import count, format_duration, format_size, format_time, show_text, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def explain_lines(found: dict[str, Any], now: int) -> Iterator[str]:
    """Yield the lines of an explanation: the path, then what is known of it, the answer last."""
    yield show_text(found["path"]) or "."
    for label, text in _facts(found, now):
        yield f"  {label:<11}{show_text(text)}"


def _facts(found: dict[str, Any], now: int) -> Iterator[tuple[str, str]]:
    kind, rule, removed = found["kind"], found["rule"], found["removed"]
    if kind == "directory":
        yield "contains", f"{count(found['files'])}, {format_size(found['bytes'])}"
    elif kind is not None:
        size, allocated = format_size(found["bytes"]), format_size(found["allocated"])
        yield kind, f"{size}, {allocated} on disk, owner {user_name(found['uid'])}"
    yield "class", "none" if rule is None else f"{rule['class']} (tier {found['tier']}): {_rule(rule)}"
    if found["clock_at"] is not None:
        clocks = ", ".join(f"{name} {format_time(at)}" for name, at in found["clocks"].items())
        yield "clock", f"{format_time(found['clock_at'])}, {span(now - found['clock_at'])} ago; youngest of {clocks}"
    if (unit := found.get("unit")) is not None:
        yield "goes with", f"all of {unit['path']}/: {count(unit['files'])}, as old as {unit['youngest']}"
    if found["expires_at"] is not None:
        yield "expires", when(found["expires_at"], now)
    if found["notice"] is not None:
        yield from _notice(found["notice"], now)
    if removed is not None:
        yield from _removed(removed, now)
    if kind not in {None, "directory"} or "unit" in found or (found["blockers"] and removed is None):
        yield from _verdict(found["blockers"], found.get("makes_room"))
    for hold in found.get("holds", ()):
        yield "", _hold(hold, now)


def _rule(rule: dict[str, Any]) -> str:
    if rule["ttl"] is None:
        return f"{', '.join(rule['match'])}, kept forever"
    floor = ", not before its arrival" if rule["arrival_floor"] else ""
    return (
        f"{', '.join(rule['match'])}, {rule['action']} {format_duration(rule['ttl'])} after"
        f" {' and '.join(rule['clock'])}{floor}"
    )


def _notice(notice: dict[str, Any], now: int) -> Iterator[tuple[str, str]]:
    wait = f"{format_duration(notice['warn_before'])} before it goes"
    if notice["published"] is None:
        yield "notice", f"none published; wanted {wait}"
        yield "goes", f"not before {when(notice['goes_at'], now)}, if one were published now"
    else:
        yield "notice", f"published {when(notice['published'], now)}; wanted {wait}"
        yield "goes", f"from {when(notice['goes_at'], now)} on"


def _hold(hold: dict[str, Any], now: int) -> str:
    """Return whose hold it is, on what, why and for how long."""
    what = "lease" if hold["kind"] == "lease" else "hold"
    until = "until it is released" if hold["until"] is None else f"until {when(hold['until'], now)}"
    why = f": {hold['reason']}" if hold["reason"] else ""
    return f"{what} of {hold['by']} on {hold['path'] or '.'}, {until}{why}"


def _verdict(blockers: Sequence[str], room: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if not blockers and room is not None:
        yield "verdict", f"due: the next cleanup takes it: {_room(room)}"
    elif not blockers:
        yield "verdict", "due: the next run takes it, if nobody has it open"
    for number, word in enumerate(blockers):
        yield "" if number else "stays", f"{word}: {_MEANINGS.get(word, '')}".removesuffix(": ")


def _room(room: dict[str, Any]) -> str:
    """Return which quota or watermark it makes room for."""
    if (quota := room.get("quota")) is None:
        mark = room.get("watermark")
        reached = "" if mark is None else f" ({mark['mark']})"
        place = f"filesystem {mark['filesystem']}" if mark is not None and mark["filesystem"] else "the filesystem"
        return f"{place} is too full{reached}, and its class gives way"
    of = f"class {quota['class']}" + ("" if quota["child"] is None else f" for {quota['child']}")
    parts = []
    if quota["quota_high"] is not None:
        parts.append(f"{format_size(quota['allocated'])} of {format_size(quota['quota_high'])}")
    if quota["quota_files"] is not None:
        parts.append(f"{quota['files']:,} of {count(quota['quota_files'])}")
    return f"the quota of {of} is exceeded ({', '.join(parts)})"


_MEANINGS = {str(word): word.meaning for kind in (Blocker, Guard) for word in kind}


def _removed(removed: dict[str, Any], now: int) -> Iterator[tuple[str, str]]:
    rule = removed["rule"]
    at = "" if removed["at"] is None else f" {when(removed['at'], now)}"
    yield "removed", f"{removed['outcome']}{at}, {format_size(removed['bytes'])}, by run {removed['run']}"
    why = f"class {rule['class']}, {removed['reason']}"
    if rule["expires_at"] is not None:
        ttl, end = format_duration(rule["ttl"]), format_time(rule["expires_at"])
        why += f" since {end} (ttl {ttl})" if removed["reason"] == Reason.EXPIRED else f"; its ttl of {ttl} ends {end}"
    yield "why", why
    who = f"{removed['kind']} by {removed['user']} ({removed['trigger']})"
    yield "policy", f"{(removed['policy'] or '')[:12]}, {who}"
    if removed.get("child") is not None:
        yield "together", f"with all of {removed['child']}/: {count(removed['files'])}"
    if removed["restorable_until"] is not None:
        yield "restorable", f"until {when(removed['restorable_until'], now)}"
    if removed["restored_to"] is not None:
        yield "restored", f"to {removed['restored_to']}"
