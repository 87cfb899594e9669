"""The clock `filename`: the time that a name such as `frame_20240115_143022.jpg` bears."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from indexer.records import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.rules import FilenameTime

REMEMBERED: Final = 4096
"""Texts whose time is remembered: the frames of one second share it, and strptime costs 5 µs."""


def time_in_name(how: FilenameTime) -> Callable[[bytes], int | None]:
    """Return a function from a name to its time in Unix seconds.

    None where the name does not match, or bears an impossible time: 30 February, or one before 1970, which is what a
    camera without a battery writes. A local time that a change of the clocks skips or repeats is taken by the offset
    before the change. Undecodable bytes of a name are matched as surrogates (`os.fsdecode`).
    """
    from zoneinfo import ZoneInfo  # only for those who use it

    search = re.compile(how.regex).search
    zone = ZoneInfo(how.tz)

    @lru_cache(maxsize=REMEMBERED)
    def read(text: str) -> int | None:
        try:
            found = datetime.strptime(text, how.format)  # noqa: DTZ007 - the zone is the class's, where there is none
            at = found if found.tzinfo is not None else found.replace(tzinfo=zone)
            seconds = int(at.timestamp())
        except (ValueError, OverflowError):
            return None
        return seconds if 0 <= seconds < NEVER else None

    def time(name: bytes) -> int | None:
        match = search(name.decode("utf-8", "surrogateescape"))
        return None if match is None or match[1] is None else read(match[1])

    return time


def filename_clock(how: FilenameTime) -> Callable[[bytes, int, int, int], int]:
    """Return (name, mtime, ctime, first_seen) -> clock.

    With `otherwise = "keep"` a name without a time gives `NEVER`; one with a time to come gives that time, so that
    nothing is due before it. With `otherwise = "mtime"` both give mtime; a time is one to come when it is later than
    the file's arrival and its last change, which needs no clock to tell and says the same tomorrow.
    """
    time = time_in_name(how)
    keep = how.otherwise == "keep"

    def clock(name: bytes, mtime: int, ctime: int, first_seen: int) -> int:
        at = time(name)
        if at is None:
            return NEVER if keep else mtime
        return at if keep or at <= max(ctime, first_seen) else mtime

    return clock
