"""fanotify's events one by one, with all that they say of places: for observers, which tell each of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from indexer.syscalls import fanotify as fan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.watch.places import Place

_RECORD = struct.Struct("=BBH8sI")  # type, pad, length of the record; fsid; length of the handle
_AFTER_HEAD = 4
_AFTER_FSID = _AFTER_HEAD + 8
_HANDLE = _AFTER_FSID + 8  # the handle's own bytes come after its length and type


class Event(NamedTuple):
    """One event of the kernel's."""

    mask: int
    place: Place | None
    """Directory and name; for a rename the old ones."""
    to: Place | None
    """The new ones of a rename."""
    target: bytes | None
    """Key of the object itself, where the kernel says it."""

    @property
    def directory(self) -> bool:
        """It happened to a directory."""
        return bool(self.mask & fan.FAN_ONDIR)


def parse(data: bytes) -> Iterator[Event]:
    """Yield the events in what was read from a group."""
    offset, end = 0, len(data)
    while offset < end:
        length, _, _, head, mask, _, _ = fan.EVENT.unpack_from(data, offset)
        place = to = target = None
        record = offset + head
        offset += length
        while record < offset:
            kind, _, size, fsid, handle = _RECORD.unpack_from(data, record)
            split = record + _HANDLE + handle
            key = fsid + data[record + _AFTER_FSID : split]
            name = data[split : record + size].rstrip(b"\0")
            if kind == fan.FAN_EVENT_INFO_TYPE_FID:
                target = key
            elif kind == fan.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
                to = key, name
            else:
                place = key, name
            record += size
        yield Event(mask, place, to, target)
