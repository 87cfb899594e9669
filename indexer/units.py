"""Durations, sizes, times and names between people and the program: strict on the way in, exact on the way out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache

from indexer.errors import UsageError

LONGEST = 1000 * 365 * 86400
"""A thousand years of seconds: longer durations are typing errors, and sums with them would leave 64 bits."""
LARGEST = 2**63 - 1
"""The largest size that SQLite stores."""

_DURATION_REMEDY = "write a whole number of seconds, minutes, hours, days or weeks: 90s, 15m, 12h, 7d, 2w, 1d12h"
_SIZE_REMEDY = "write a number with a unit: 10GiB (powers of 1024), 5GB (powers of 1000), 4096B, or plain bytes"
_TIME_REMEDY = "write ISO 8601 (2026-11-22T13:00:00Z; without a zone it is UTC), @1795352400, +3d or -3d"
_DURATION = re.compile(r"[0-9]{1,12} ?[a-z]+(?:[, ]*[0-9]{1,12} ?[a-z]+)*", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([KMGTPE]i?B|B)", re.ASCII)
_PREFIXES = "KMGTPE"
_STEPS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse_duration(text: object) -> int:
    """Return seconds for `90s`, `15m`, `12h`, `7d`, `2w` or a sum of them (`1d12h`); UsageError for all else.

    A bare number is refused, because nobody can see whether it means seconds or days. Of what pytimeparse reads,
    signs, clock forms (`1:30`), fractions (it rounds them) and capitals (`3M`: months?) are refused too.
    """
    if not isinstance(text, str):
        if isinstance(text, int) and not isinstance(text, bool):
            if text < 0:
                raise UsageError(f"{text} is not a duration: it is negative", remedy=_DURATION_REMEDY)
            raise UsageError(f"{text} has no unit", remedy=f"for {text} seconds write {text}s")
        raise UsageError(f"{_shown(text)} is not a duration", remedy=_DURATION_REMEDY)
    from pytimeparse.timeparse import timeparse  # compiles its patterns on import: 8 ms

    if text.isdecimal():
        raise UsageError(f"{_shown(text)} has no unit", remedy=_DURATION_REMEDY)
    seconds = timeparse(text) if _DURATION.fullmatch(text) else None
    if seconds is None:
        raise UsageError(f"{_shown(text)} is not a duration", remedy=_DURATION_REMEDY)
    if seconds > LONGEST:
        raise UsageError(f"{_shown(text)} is longer than a thousand years", remedy=_DURATION_REMEDY)
    return int(seconds)


def format_duration(seconds: int) -> str:
    """Return the shortest exact form of `seconds` that `parse_duration` reads back: 604800 -> 7d, 90 -> 1m30s."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    parts = []
    for unit, length in _STEPS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """Return bytes for `10GiB` (1024³), `5GB` (1000³), `1.5TiB` or an integer; UsageError for all else.

    `10G` is refused: half the world's tools mean 1000³ by it and half 1024³.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UsageError(f"{_shown(value)} is not a size", remedy=_SIZE_REMEDY)
    if isinstance(value, int) or (value.isascii() and value.isdecimal() and len(value) <= len(str(LARGEST))):
        size = int(value)
    elif found := _SIZE.fullmatch(value):
        number, unit = found.groups()
        power = _PREFIXES.index(unit[0]) + 1 if unit != "B" else 0
        size = _times(number, (1024 if "i" in unit else 1000) ** power)
    elif found := re.fullmatch(r"([0-9.]+) ?([KMGTPEkmgtpe])[bB]?", value, re.ASCII):
        number, prefix = found[1], found[2].upper()
        raise UsageError(
            f"{_shown(value)} can be read in two ways", remedy=f"write {number}{prefix}iB (1024) or {number}{prefix}B"
        )
    else:
        raise UsageError(f"{_shown(value)} is not a size", remedy=_SIZE_REMEDY)
    if not 0 <= size <= LARGEST:
        raise UsageError(f"{_shown(value)} is not a size that a filesystem can have", remedy=_SIZE_REMEDY)
    return size


def _times(number: str, factor: int) -> int:
    """Return `number` (decimal text) × `factor`, rounded down, exactly: a float loses bytes above 2**53."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole) * factor + int(fraction or "0") * factor // scale


def count(number: int, one: str = "file", many: str = "") -> str:
    """Return how many, in words: `1 file`, `2 files`; `many` for what does not just take an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@cache
def user_name(uid: int) -> str:
    """Return a user's name on this machine, or the number of one that has none here."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OverflowError):
        return str(uid)


def format_size(size: int) -> str:
    """Return bytes for people, in powers of 1024: `10.0 GiB`, `512 Bytes`."""
    from humanize import naturalsize  # 8 ms, and only reports need it

    return naturalsize(size, binary=True, format="%.1f")


def parse_time(text: str, now: float) -> int:
    """Return Unix seconds for ISO 8601, `@epoch`, or `+3d` / `-3d` counted from `now`; UsageError for all else.

    A time without a zone is UTC, so that the same command means the same moment on every host.
    """
    if re.fullmatch(r"@-?[0-9]{1,12}", text, re.ASCII):
        return int(text[1:])
    try:
        if text.startswith(("+", "-")):
            seconds = parse_duration(text[1:])
            return int(now) + (seconds if text[0] == "+" else -seconds)
        parsed = datetime.fromisoformat(text)
    except (ValueError, UsageError) as error:
        remedy = f"write @{text} for Unix seconds" if text.isdecimal() else _TIME_REMEDY
        raise UsageError(f"{_shown(text)} is not a time", remedy=remedy) from error
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def time_of(when: float | str | datetime, now: float) -> int:
    """Return Unix seconds for Unix seconds, a datetime (without a zone: UTC), or what `parse_time` takes."""
    if isinstance(when, str):
        return parse_time(when, now)
    if isinstance(when, datetime):
        return parse_time(when.isoformat(), now)
    try:
        return int(when)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{when!r} is not a time", remedy=_TIME_REMEDY) from error


def format_time(unix: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC (`2026-11-22T13:00:00Z`); years that have no such form as `@seconds`."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(unix))).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return f"@{int(unix)}"


def text_of(name: bytes) -> str:
    r"""Return a file name as valid text for SQL and JSON: UTF-8 unchanged, undecodable bytes as `\xff`."""
    return name.decode("utf-8", "backslashreplace")


def show_name(name: bytes) -> str:
    r"""Return a file name that is safe on a terminal and in a log.

    Printable UTF-8 stays; controls, newlines, escape sequences, bidirectional and other format characters, odd
    spaces and undecodable bytes become `\n`, `\x1b`, `\u202e`, `\xff`. For eyes only: it cannot be turned back.
    """
    text = text_of(name)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def show_text(text: str) -> str:
    """`show_name` for text that may hold names, such as an OSError's message or a `Path`."""
    return show_name(text.encode("utf-8", "surrogateescape"))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _shown(value: object) -> str:
    """Return a wrong value as it may be quoted in a message: escaped and short."""
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return show_text(text if len(text) <= 60 else text[:57] + "…")
