"""Errors that a filesystem finds in itself, told by the kernel in a queue of their own (Linux ≥ 5.16: ext4, xfs).

Not in the watcher's own queue: they need FAN_REPORT_FID, with which every other event would carry a second handle.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from indexer.syscalls import fanotify as fan

_FLAGS = fan.FAN_CLASS_NOTIF | fan.FAN_CLOEXEC | fan.FAN_NONBLOCK | fan.FAN_REPORT_FID
_ERROR = struct.Struct("=BBHiI")
"""struct fanotify_event_info_error: header (type, pad, len), error, how often since the last event."""
_NOT_TOLD = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV, errno.EXDEV, errno.EPERM, errno.EMFILE}


def error_group(mounts: list[int]) -> int:
    """Return a queue of the errors of the filesystems that these descriptors lie on, -1 where none tells any."""
    try:
        group = fan.fanotify_init(_FLAGS)
    except OSError as error:
        if error.errno in _NOT_TOLD:
            return -1
        raise
    marked = 0
    for mount in mounts:
        try:
            fan.fanotify_mark(group, fan.FAN_MARK_ADD | fan.FAN_MARK_FILESYSTEM, fan.FAN_FS_ERROR, mount)
            marked += 1
        except OSError as error:
            if error.errno not in _NOT_TOLD:
                os.close(group)
                raise
    if not marked:
        os.close(group)
        return -1
    return group


def errors_in(data: bytes) -> Iterator[str]:
    """Yield what each event of such a queue says, for people."""
    offset = 0
    while offset < len(data):
        length, _, _, head, mask, _, _ = fan.EVENT.unpack_from(data, offset)
        record = offset + head
        offset += length
        while mask & fan.FAN_FS_ERROR and record < offset:
            kind, _, size = fan.INFO.unpack_from(data, record)
            if kind == fan.FAN_EVENT_INFO_TYPE_ERROR:
                _, _, _, code, count = _ERROR.unpack_from(data, record)
                times = f", {count} times" if count > 1 else ""
                yield f"{errno.errorcode.get(code, str(code))}: {os.strerror(code)}{times}"
            record += size
