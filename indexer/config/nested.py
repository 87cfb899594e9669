"""Kinds whose values are small tables: quotas, watermarks, times in file names; and modes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from indexer.config.kinds import FRACTION, SIZE, TEXT, Key, Kind, choice, did_you_mean, integer, type_name
from indexer.config.problems import several
from indexer.errors import ConfigError, IndexerError, UsageError


def table_of(grammar: str, keys: tuple[Key, ...], check: Callable[[Mapping[str, Any]], None]) -> Kind:
    """An inline table with these keys; `check` raises UsageError for values that contradict each other."""

    def parse(value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise UsageError(f"is {type_name(value)}, not a table", remedy=f"write {grammar}")
        known = [key.name for key in keys]
        wrong: list[tuple[str, IndexerError]] = [
            (f".{name}", UsageError("unknown key", remedy=did_you_mean(name, known)))
            for name in value
            if name not in known
        ]
        read: dict[str, Any] = {}
        for key in keys:
            given = value.get(key.name, key.default)
            if given is None:
                if key.required:
                    wrong.append((f".{key.name}", UsageError("is missing", remedy=f"write {grammar}")))
                continue
            try:
                read[key.name] = key.kind.parse(given)
            except (UsageError, ConfigError) as error:
                wrong.append((f".{key.name}", error))
        if wrong:
            raise several(wrong)
        check(read)
        return read

    return Kind(grammar, parse, shown_table(keys))


def shown_table(keys: tuple[Key, ...]) -> Callable[[Any], str]:
    """Return a function that shows such a value, read (a mapping) or made of it (a dataclass): what is set, by key."""

    def show(value: object) -> str:
        values = value if isinstance(value, Mapping) else {key.name: getattr(value, key.name) for key in keys}
        parts = [(key, values.get(key.name)) for key in keys]
        return "{ " + ", ".join(f"{key.name} = {key.kind.show(said)}" for key, said in parts if said is not None) + " }"

    return show


def _shares(read: Mapping[str, Any]) -> None:
    _ordered(read, "low", "high")


def _min_free(read: Mapping[str, Any]) -> None:
    _ordered(read, "at", "until")


def _quota_table(read: Mapping[str, Any]) -> None:
    if "high" not in read and "files" not in read:
        raise UsageError("limits nothing", remedy='write high = "10GiB", or files = 1_000_000, or both')
    _ordered(read, "low", "high")


def _ordered(read: Mapping[str, Any], lower: str, upper: str) -> None:
    if lower in read and upper not in read:
        raise UsageError(f"{lower} without {upper}", remedy=f"write {upper} too")
    if lower in read and read[lower] > read[upper]:
        raise UsageError(
            f"{lower} is above {upper}", remedy=f"work starts at one and stops at the other: swap {lower} and {upper}"
        )


def _filename_time(read: Mapping[str, Any]) -> None:
    try:
        pattern = re.compile(read["regex"])
    except re.error as error:
        raise UsageError(f"regex: {error}", remedy="write a Python regular expression in single quotes") from error
    if pattern.groups != 1:
        raise UsageError(
            f"regex has {pattern.groups} groups", remedy="put ( ) around the time, and only there: use (?: )"
        )
    if missing := missing_fields(read["format"]):
        raise UsageError(
            f"format has no {missing}: it does not say a day", remedy='write a strptime format, such as "%Y%m%d_%H%M%S"'
        )
    try:
        datetime.strptime(datetime(2024, 1, 15, 14, 30, 22, tzinfo=UTC).strftime(read["format"]), read["format"])  # noqa: DTZ007
    except ValueError as error:
        raise UsageError(f"format: {error}", remedy="write the fields of Python's strptime: %Y%m%d_%H%M%S") from error
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only for those who use it

    try:
        ZoneInfo(read["tz"])
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"tz: {read['tz']!r} is no time zone here", remedy="write a name such as UTC or Europe/Berlin"
        ) from error


_FIELDS = (
    ("year", "YyGxc"),
    ("month", "mbBjUWVxc"),
    ("day", "djuwaAxc"),
)
"""Which letters of strptime say what; without a year everything would be of 1900, and so long due."""


def missing_fields(format_: str) -> str:
    """Return the first of year, month and day that a strptime format lacks, "" when it says a day."""
    letters = set(re.findall(r"%(.)", format_))
    return next((name for name, known in _FIELDS if letters.isdisjoint(known)), "")


def _quota(value: object) -> Mapping[str, Any]:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return {"high": SIZE.parse(value), "per": "class", "order": "clock"}
    read: Mapping[str, Any] = _QUOTA_TABLE.parse(value)
    return read


def _mode(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3,4}", value, re.ASCII):
        raise UsageError(f"{value!r} is not a mode", remedy='write octal digits as a text: "0750"')
    return int(value, 8)


SHARES = table_of(
    "{ high = 0.90, low = 0.85 }",
    (Key("high", FRACTION, None, "Start here.", required=True), Key("low", FRACTION, None, "Stop here.")),
    _shares,
)
MIN_FREE = table_of(
    '{ at = "5GiB", until = "10GiB" }',
    (Key("at", SIZE, None, "Start here.", required=True), Key("until", SIZE, None, "Stop here.", required=True)),
    _min_free,
)
_QUOTA_TABLE_KEYS = (
    Key("high", SIZE, None, "Start here."),
    Key("low", SIZE, None, "Stop here. Default: high."),
    Key("files", integer(1), None, "Number of files."),
    Key("per", choice("class", "child"), "class", "For the class, or for each of its direct child directories."),
    Key("order", choice("clock", "size", "first_seen"), "clock", "What goes first."),
)
_QUOTA_TABLE = table_of(
    '"10GiB", or { high = "10GiB", low = "9GiB", files = 1_000_000, per = class | child, '
    "order = clock | size | first_seen }",
    _QUOTA_TABLE_KEYS,
    _quota_table,
)
QUOTA = Kind(_QUOTA_TABLE.grammar, _quota, shown_table(_QUOTA_TABLE_KEYS))
FILENAME_TIME = table_of(
    """{ regex = '_(\\d{8}_\\d{6})', format = "%Y%m%d_%H%M%S", tz = "UTC", otherwise = keep | mtime }""",
    (
        Key("regex", TEXT, None, "One group: the time.", required=True),
        Key("format", TEXT, None, "strptime format.", required=True),
        Key("tz", TEXT, "UTC", "Zone."),
        Key("otherwise", choice("keep", "mtime"), "keep", "For names that do not match."),
    ),
    _filename_time,
)


def _file_mode(value: object) -> int:
    mode = _mode(value)
    if mode & ~0o777:
        raise UsageError(f"{value!r} would make every file run as its owner, or its group", remedy='as in "0640"')
    return mode


MODE = Kind('mode: "0750"', _mode, lambda mode: f"{mode:04o}", plain=True)
FILE_MODE = Kind('mode: "0640"', _file_mode, lambda mode: f"{mode:04o}", plain=True)
