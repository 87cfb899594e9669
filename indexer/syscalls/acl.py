"""POSIX ACLs as the extended attributes that Linux keeps them in (acl(5), xattr(7))."""

from __future__ import annotations

import errno
import os

ACCESS_ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
NO_ACL = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOSYS})
"""None on this object, none on this filesystem, none on this kernel."""


def acl_of(target: int | str, name: str) -> bytes | None:
    """Return an ACL as the kernel gives it, of a descriptor (not O_PATH) or a path; None: there is none.

    Raises OSError.
    """
    try:
        return os.getxattr(target, name)
    except OSError as error:
        if error.errno not in NO_ACL:
            raise
    return None
