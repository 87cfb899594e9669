"""The policy as plain values: what the configuration says, and all that deciding needs to know of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Clock = Literal["mtime", "atime", "ctime", "btime", "filename"]


@dataclass(frozen=True, slots=True)
class FilenameTime:
    """`filename_time`: how the clock `filename` reads a time from a name."""

    regex: str
    """One group: the time."""
    format: str
    """A strptime format with year, month and day."""
    tz: str = "UTC"
    """Zone of times that do not carry their own."""
    otherwise: Literal["keep", "mtime"] = "keep"
    """For names without a time, with an impossible one, or with one that was to come when the file was written."""


@dataclass(frozen=True, slots=True)
class Quota:
    """`quota`: how much there may be of a class, or of each of its direct child directories."""

    high: int | None = None
    """Allocated bytes at which eviction starts; None: bytes are not limited."""
    low: int | None = None
    """Allocated bytes at which it stops; None: `high`."""
    files: int | None = None
    """Number of files; None: not limited."""
    per: Literal["class", "child"] = "class"
    order: Literal["clock", "size", "first_seen"] = "clock"
    """What goes first: the oldest clock, the most allocated bytes, or the earliest arrival."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares (above 0, up to 1) at which work starts and stops."""

    high: float
    low: float | None = None

    @property
    def stop(self) -> float:
        """Where it stops: `low`, or `high` where only one is given."""
        return self.high if self.low is None else self.low


@dataclass(frozen=True, slots=True)
class MinFree:
    """Free bytes below which work starts, and up to which it goes on."""

    at: int
    until: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """`[watermark]`, for each filesystem of the store: whichever is reached first."""

    order: tuple[str, ...]
    """Names of classes, in the order in which they give way."""
    space: Shares | None = None
    min_free: MinFree | None = None
    inodes: Shares | None = None
    capacity: int | None = None
    """Bytes of disk that the store may take in all, trash included: this or the filesystem, whichever is smaller."""


_OWN = re.compile(r"/?((?:[^*?\[\\]|\\.)+)/\*\*|/?\*\*", re.DOTALL)
"""A glob `directory/**`, or `**` for the root."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[class]]`. Durations are seconds, sizes are bytes."""

    name: str
    match: tuple[str, ...]
    """gitignore-style globs, relative to the store; the first class that matches wins."""
    exclude: tuple[str, ...] = ()
    tier: str = "hot"
    ttl: int | None = None
    """None = kept forever."""
    clocks: tuple[Clock, ...] = ("mtime",)
    """Several: the youngest counts."""
    arrival_floor: bool = True
    min_age: int = 3600
    """Seconds since the last write or arrival."""
    skip_in_use: Literal["readers", "writers", "no"] = "readers"
    unit: Literal["file", "child"] = "file"
    action: Literal["trash", "delete", "system-trash"] = "trash"
    trash_ttl: int = 86400
    remove_empty_dirs: bool = False
    whole_directories: bool = False
    """A directory whose every entry goes is moved aside first, in one rename."""
    max_fraction: float | None = None
    """Overrides the store's guard for this class."""
    filename_time: FilenameTime | None = None
    """Set where `clocks` has `filename`."""
    quota: Quota | None = None
    evict: bool = False
    """Without a ttl a quota only warns, unless this is set."""
    warn_before: int | None = None
    """Seconds since a published notice named a file before which it does not go; None: no notice is needed."""

    @property
    def evicts(self) -> bool:
        """Its quota removes files, rather than warn."""
        return self.quota is not None and (self.ttl is not None or self.evict)

    @property
    def own_directories(self) -> tuple[bytes, ...]:
        """The directories that are the class's own: `uploads` of `uploads/**`, the root (b"") of `**`."""
        found = [_OWN.fullmatch(glob) for glob in self.match]
        return tuple(
            re.sub(r"\\(.)", r"\1", one[1] or "").encode("utf-8", "surrogateescape") for one in found if one is not None
        )

    def child_of(self, directory: bytes) -> bytes | None:
        """Return the direct child of the class's own directory that `directory` is or lies in; None: in none."""
        for own in self.own_directories:
            prefix = own + b"/" if own else b""
            if directory.startswith(prefix) and len(directory) > len(prefix):
                return prefix + directory[len(prefix) :].split(b"/", 1)[0]
        return None


@dataclass(frozen=True, slots=True)
class Guards:
    """`[guards]`: a breach of a fraction refuses the whole run; the maxima cut it to its oldest part."""

    max_fraction: float = 0.5
    min_files: int = 100
    max_clock_step: int = 86400
    max_files: int = 100_000
    max_bytes: int = 500 * 1024**3
    override: tuple[str, ...] = ()
    """Guards that `--override` may set aside without a terminal."""
    suspend_errors: int = 100
    """Failures in a row (not files that stay for a reason) after which a run gives up."""
    max_rate: int | None = None
    """Files per second; None: as fast as it goes."""
