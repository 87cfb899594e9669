"""Which filesystem this is, across reboots: its UUID by ioctl(FS_IOC_GETFSUUID), Linux ≥ 6.9."""

from __future__ import annotations

import errno
import os
import sys

FS_IOC_GETFSUUID = 0x80111500
"""_IOR(0x15, 0, struct fsuuid2 { __u8 len; __u8 uuid[16]; }) of include/uapi/linux/fs.h."""

_UNKNOWN = {errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.ENOSYS}


def filesystem_uuid(directory: int) -> str:
    """Return the UUID (hex) of the filesystem that the directory descriptor lies on, "" where it is not known.

    f_fsid is no substitute everywhere: on xfs it holds the device number, which a reboot may change. The directory
    is opened again for reading, since an O_PATH descriptor has no ioctl; EACCES there counts as unknown.
    """
    if sys.platform != "linux":
        return ""
    import fcntl

    buffer = bytearray(17)
    try:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            fcntl.ioctl(readable, FS_IOC_GETFSUUID, buffer)
        finally:
            os.close(readable)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return ""
        raise
    found = bytes(buffer[1 : 1 + buffer[0]])
    return found.hex() if any(found) else ""  # all zeros: made without one
