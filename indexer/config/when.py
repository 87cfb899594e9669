"""When something is to be done, as it is written: a crontab line, `every 10 minutes`, `every day at 02:00`."""

from __future__ import annotations

import re
from typing import NamedTuple

from indexer.config.kinds import TEXT, Kind
from indexer.errors import UsageError

EXAMPLES = 'write a crontab line such as "0 2 * * *", "every 10 minutes", or "every day at 02:00"'

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_EVERY = re.compile(r"every(?: (\d{1,6}))? (second|minute|hour|day|week)s?", re.ASCII)
_DAILY = re.compile(rf"every (day|{'|'.join(_LONG)}) at (\d\d?):(\d\d)", re.ASCII)
_PART = re.compile(r"(\*|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/(\d+))?", re.ASCII)
_FIELDS = (
    ("minute", 0, 59, (), 0),
    ("hour", 0, 23, (), 0),
    ("day of the month", 1, 31, (), 0),
    ("month", 1, 12, _MONTHS, 1),
    ("day of the week", 0, 7, _WEEKDAYS, 0),
)
"""Of a crontab line: what it is, least, most, names, and the number of the first name (crontab(5))."""


class When(NamedTuple):
    """Either `every` so many seconds, or at the moments of five crontab fields."""

    every: int | None = None
    fields: tuple[str, str, str, str, str] | None = None
    """Lists of plain numbers, or `*`; the days of the week by name, since programs count them differently."""


def read_when(text: str) -> When:
    """Return what `text` means. Raises UsageError with a remedy."""
    words = " ".join(text.lower().split())
    if found := _DAILY.fullmatch(words):
        day, hour, minute = found.groups()
        weekday = "*" if day == "day" else str(_LONG.index(day))
        return When(fields=_crontab(f"{int(minute)} {int(hour)} * * {weekday}", text))
    if found := _EVERY.fullmatch(words):
        seconds = int(found[1] or 1) * _SECONDS[found[2]]
        if seconds < 1:
            raise UsageError(f"{text!r} is no time at all", remedy=EXAMPLES)
        return When(every=seconds)
    return When(fields=_crontab(_NAMED.get(words, words), text))


def _crontab(words: str, text: str) -> tuple[str, str, str, str, str]:
    parts = words.split()
    if len(parts) != len(_FIELDS):
        raise UsageError(f"{text!r} is neither a crontab line of five fields nor a phrase", remedy=EXAMPLES)
    minute, hour, day, month, weekday = (_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True))
    if weekday != "*":
        names = dict.fromkeys(_WEEKDAYS[int(number) % 7] for number in weekday.split(","))  # 7 is Sunday too
        weekday = "*" if len(names) == len(_WEEKDAYS) else ",".join(names)
    return minute, hour, day, month, weekday


def _field(part: str, what: str, least: int, most: int, names: tuple[str, ...], first: int) -> str:
    """Return one field as a list of numbers, "*" for all of them."""
    if part == "*":
        return part
    numbers: set[int] = set()
    for piece in part.split(","):
        found = _PART.fullmatch(piece)
        if found is None:
            raise UsageError(
                f"{piece!r} is not a {what}", remedy=f"write numbers from {least} to {most}, *, a-b or */n"
            )
        low, high, step = found.groups()
        start = least if low == "*" else _number(low, what, least, most, names, first)
        end = start
        if high is not None and low != "*":
            end = _number(high, what, least, most, names, first)
            if end == 0 < start and names is _WEEKDAYS:
                end = 7  # fri-sun
        elif low == "*" or step is not None:
            end = most if what != "day of the week" else 6
        if end < start or (step is not None and int(step) < 1) or (low == "*" and high is not None):
            raise UsageError(f"{piece!r} is not a {what}", remedy="write the smaller number first, and steps above 0")
        numbers.update(range(start, end + 1, int(step or 1)))
    return ",".join(str(number) for number in sorted(numbers))


def _number(word: str, what: str, least: int, most: int, names: tuple[str, ...], first: int) -> int:
    if word in names:
        return names.index(word) + first
    if word.isdecimal() and least <= int(word) <= most:
        return int(word)
    raise UsageError(f"{word!r} is not a {what}", remedy=f"write numbers from {least} to {most}")


def _when(value: object) -> str:
    text: str = TEXT.parse(value)
    read_when(text)
    return text


def _zone(value: object) -> str:
    from zoneinfo import ZoneInfo

    name: str = TEXT.parse(value)
    if name == "UTC":
        return name  # also where no time zones are installed
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(
            f"{name!r} is not a time zone", remedy='write "UTC", or a name such as "Europe/Berlin"'
        ) from error
    return name


def _jobstore(value: object) -> str:
    address: str = TEXT.parse(value)
    if not re.fullmatch(r"[a-z][a-z0-9+]*://.*", address, re.ASCII):
        raise UsageError(
            "is not an address",
            remedy='write "redis://localhost:6379/2", or a database such as "sqlite:////var/lib/jobs.db"',
        )
    return address


WHEN = Kind('crontab line, "every 10 minutes", "every day at 02:00"', _when, plain=True)
ZONE = Kind("time zone: UTC, Europe/Berlin", _zone, plain=True)
JOBSTORE = Kind("address: redis://…, sqlite:///…", _jobstore, plain=True)
