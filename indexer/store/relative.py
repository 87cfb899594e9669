"""What a path means in a store."""

from __future__ import annotations

import os

from indexer.errors import UsageError
from indexer.units import show_name


def relative(root: bytes, path: bytes) -> bytes:
    """Return `path` (absolute, or relative to `root`) relative to `root`, without following its last component.

    `root` is absolute and holds no symbolic link. Raises UsageError for a path outside of it.
    """
    if not os.path.isabs(path):
        clean = os.path.normpath(path) if path else b"."
        if clean == b"." or not clean.startswith(b".."):
            return b"" if clean == b"." else clean
        path = os.path.join(root, clean)
    parent, name = os.path.split(os.path.abspath(path))
    absolute = os.path.join(os.path.realpath(parent), name) if name else os.path.realpath(parent)
    if absolute == root or os.path.realpath(path) == root:
        return b""
    if not absolute.startswith(root.rstrip(b"/") + b"/"):
        raise UsageError(
            f"{show_name(path)} is not in the store {show_name(root)}", remedy="name a path below the store's root"
        )
    return absolute[len(root.rstrip(b"/")) + 1 :]
