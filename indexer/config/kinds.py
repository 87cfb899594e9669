"""Kinds of values: how each is written in TOML, what it becomes, and how it is shown again."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import date, datetime, time
from typing import Any, NamedTuple

from indexer.config import globs
from indexer.config.problems import several
from indexer.errors import IndexerError, UsageError
from indexer.units import format_duration, format_size, parse_duration, parse_size

_TYPES: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number with a point",
    str: "a text",
    list: "a list",
    dict: "a table",
    datetime: "a date and time",
    date: "a date",
    time: "a time",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Kind(NamedTuple):
    """A kind of value: `grammar` for the reference, `parse` from TOML, `show` back.

    `parse` raises UsageError with what is wrong and the remedy, or ConfigError when several things are.
    """

    grammar: str
    parse: Callable[[object], Any]
    show: Callable[[Any], str] = str
    plain: bool = False
    """The value may be given as bare text in the environment (no TOML quotes)."""


class Key(NamedTuple):
    """One key of the configuration. `default` is written as in the file; None: absent means what `doc` says."""

    name: str
    kind: Kind
    default: object
    doc: str
    required: bool = False


class Table(NamedTuple):
    """A table, or (`many`) an array of tables, with its keys."""

    name: str
    doc: str
    keys: tuple[Key, ...]
    many: bool = False

    def key(self, name: str) -> Key | None:
        """Return the key called `name`, None if there is none."""
        return next((key for key in self.keys if key.name == name), None)


def type_name(value: object) -> str:
    """Return what TOML calls the type of `value`, for people."""
    return _TYPES.get(type(value), type(value).__name__)


def _wrong_type(value: object, wanted: str, example: str) -> UsageError:
    return UsageError(f"is {type_name(value)}, not {wanted}", remedy=f"write {example}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, "a text", '"…"')
    if not value or "\0" in value:
        raise UsageError("is empty or holds a NUL", remedy="write a text, or leave the key out")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(value, "true or false", "true or false, without quotes")
    return value


def _path(value: object) -> str:
    path = _text(value)
    if path.startswith("~"):
        raise UsageError('"~" is not expanded in a configuration', remedy="write the whole path")
    return path


def _name(value: object) -> str:
    name = _text(value)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{value!r} is not a name",
            remedy="use letters, digits, '.', '_' and '-', at most 64, a letter or digit first",
        )
    return name


def _unit(parse: Callable[[object], int], *, least: int = 0) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = parse(value)
        if number < least:
            raise UsageError(f"{value!r} is too small", remedy="leave the key out if you mean never or none")
        return number

    return read


def choice(*values: str) -> Kind:
    """One of some words."""

    def parse(value: object) -> str:
        word = _text(value)
        if word not in values:
            raise UsageError(f"{word!r} is not one of {', '.join(values)}", remedy=did_you_mean(word, values))
        return word

    return Kind(" | ".join(values), parse, plain=True)


def integer(least: int, most: int = 2**63 - 1) -> Kind:
    """A whole number within bounds."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(value, "an integer", "a whole number, such as 100_000, without quotes")
        if not least <= value <= most:
            raise UsageError(f"{value} is out of range", remedy=f"write a whole number of at least {least}")
        return value

    return Kind(f"integer ≥ {least}", parse)


def _fraction(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(value, "a number", "a share between 0 and 1, such as 0.5")
    if not 0 < value <= 1:  # also refuses nan
        raise UsageError(f"{value} is not a share", remedy="write a number above 0 and up to 1: 0.5 is one half")
    return float(value)


def list_of(item: Callable[[object], str], grammar: str, *, least: int = 0) -> Kind:
    """A list of texts, each read by `item`; `least` = 1 where an empty one means nothing."""

    def parse(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise _wrong_type(value, "a list", f'a list: ["{value}"]' if isinstance(value, str) else 'a list: ["…"]')
        if len(value) < least:
            raise UsageError("is empty", remedy="name at least one, or remove the whole table")
        read: list[str] = []
        wrong: list[tuple[str, IndexerError]] = []
        for position, entry in enumerate(value, start=1):
            try:
                read.append(item(entry))
            except UsageError as error:
                wrong.append((f"[{position}]", error))
        if wrong:
            raise several(wrong)
        if repeated := next((entry for entry in read if read.count(entry) > 1), None):
            raise UsageError(f"{repeated!r} is there twice", remedy="remove one of them")
        return tuple(read)

    return Kind(grammar, parse, lambda values: "[" + ", ".join(f'"{value}"' for value in values) + "]")


def choices(*values: str) -> Kind:
    """A list of at least one of some words."""
    return list_of(choice(*values).parse, f"list of {' | '.join(values)}", least=1)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return the remedy for an unknown word: the nearest known one, else all of them."""
    from difflib import get_close_matches  # only on errors

    spelt = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), spelt, n=1)
    return f'did you mean "{spelt[near[0]]}"?' if near else "known: " + ", ".join(known)


TEXT = Kind("text", _text, plain=True)
BOOLEAN = Kind("true | false", _boolean, lambda value: "true" if value else "false")
PATH = Kind("path, absolute or relative to the file", _path, plain=True)
NAME = Kind("name: letters, digits, . _ -", _name, plain=True)
DURATION = Kind("duration: 90s, 15m, 7d, 2w", _unit(parse_duration), format_duration, plain=True)
POSITIVE_DURATION = Kind("duration: 90s, 15m, 7d, 2w", _unit(parse_duration, least=1), format_duration, plain=True)
SIZE = Kind("size: 10GiB, 5GB, or bytes", _unit(parse_size, least=1), format_size, plain=True)
FRACTION = Kind("share: above 0, up to 1", _fraction)
GLOBS = list_of(globs.check, "list of globs", least=1)
ANY_GLOBS = list_of(globs.check, "list of globs")
DIRECTORIES = list_of(globs.check_directory, "list of directories, relative to the store")
TEXTS = list_of(_text, "list of texts", least=1)
