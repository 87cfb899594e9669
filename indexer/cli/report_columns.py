"""The kinds of columns that tables of reports are made of: figures, sizes, moments, bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from indexer.cli.words import distance, size
from indexer.units import format_time, user_name

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """One column."""

    title: str
    make: Callable[[Row, int], object]
    """From a row of the report and now (Unix seconds)."""
    right: bool = False
    drop: int = 0
    """Order in which columns go where there is no room: 1 goes first; 0 never goes."""
    drawn: bool = False
    """A bar: only on a terminal."""


def plain(key: str) -> Shown:
    """Return a column: a column under its own key."""
    return Shown(key.replace("_", " "), lambda row, _now: row[key])


def text(key: str, title: str = "", drop: int = 0) -> Shown:
    """Return a column: a text as it is."""
    return Shown(title or key, lambda row, _now: row[key], drop=drop)


def class_(drop: int = 0) -> Shown:
    """Return a column: the class of a row."""
    return Shown("class", lambda row, _now: "(no class)" if row["class"] is None else row["class"], drop=drop)


def number(key: str, title: str = "", drop: int = 0) -> Shown:
    """Return a column: a figure."""
    return Shown(title or key, lambda row, _now: "" if row[key] is None else f"{row[key]:,}", right=True, drop=drop)


def sized(key: str, title: str, drop: int = 0) -> Shown:
    """Return a column: bytes as people read them."""
    return Shown(title, lambda row, _now: size(row[key]), right=True, drop=drop)


def ago(key: str, title: str, drop: int = 0) -> Shown:
    """Return a column: how far away a moment is."""
    return Shown(title, lambda row, now: distance(row[key], now), right=True, drop=drop)


def moment(key: str, title: str, drop: int = 0) -> Shown:
    """Return a column: a moment."""
    return Shown(title, lambda row, _now: "" if row[key] is None else format_time(row[key]), drop=drop)


def owned(drop: int) -> Shown:
    """Return a column: a user."""
    return Shown("owner", lambda row, _now: user_name(row["uid"]), drop=drop)


def rate(key: str, title: str, drop: int) -> Shown:
    """Return a column: bytes that may be fewer than none."""

    def shown(row: Row, _now: int) -> str:
        value = row[key]
        return "" if value is None else f"-{size(-value)}" if value < 0 else size(value)

    return Shown(title, shown, right=True, drop=drop)
