"""From what the configuration says to moments: APScheduler computes them, daylight saving included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from indexer.config.when import read_when


def zone(name: str) -> Any:
    """Return the time zone; UTC also where none are installed."""
    from zoneinfo import ZoneInfo

    return UTC if name == "UTC" else ZoneInfo(name)


def trigger_of(text: str, timezone: str, jitter: int = 0) -> Any:
    """Return APScheduler's trigger; `jitter` (seconds) delays each start by a random part of it.

    A crontab line that restricts both days fires on either (crontab(5)); APScheduler alone would want both at once.
    """
    from apscheduler.triggers.combining import OrTrigger
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.interval import IntervalTrigger

    when = read_when(text)
    common = {"timezone": zone(timezone), "jitter": jitter or None}
    if when.fields is None:
        return IntervalTrigger(seconds=when.every, **common)
    minute, hour, day, month, weekday = when.fields
    clock = {"minute": minute, "hour": hour, "month": month, **common}
    if day == "*" or weekday == "*":
        return CronTrigger(day=day, day_of_week=weekday, **clock)
    return OrTrigger(
        [CronTrigger(day=day, day_of_week="*", **clock), CronTrigger(day="*", day_of_week=weekday, **clock)]
    )


def next_after(text: str, timezone: str, moment: float) -> int | None:
    """Return the first time (Unix seconds) after `moment`; None for a date that never comes (31 February)."""
    when = read_when(text)
    if when.every is not None:
        return int(moment) + when.every
    after = datetime.fromtimestamp(int(moment), zone(timezone)) + timedelta(seconds=1)
    found = trigger_of(text, timezone).get_next_fire_time(None, after)
    return None if found is None else int(found.timestamp())
