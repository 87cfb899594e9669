"""The desktop's own trash as an action (send2trash, an optional extra): only where somebody has a desktop.

send2trash works by path, so the recipe cannot rename first and look then. The file is pinned and examined as always;
afterwards the pin says whether it was the pinned object that went. Another object, that took the name in between, lies
in the desktop's trash too: named, and not destroyed.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_CURRENT_DESKTOP")
"""Variables of the environment that a desktop session sets, one at least (systemd, XDG)."""

_TRASH = re.compile(r"Trash|\.Trash|\.Trash-\d+")
"""Directories of the XDG trash specification: in the home, and at the top of other filesystems."""


def missing() -> str | None:
    """Return what is missing for the desktop's trash, with the remedy, or None where it can be used."""
    if sys.platform == "linux" and not any(os.environ.get(name) for name in SESSION):
        return 'there is no desktop session here, so no desktop\'s trash: write action = "trash" in the class'
    try:
        sender()
    except ImportError:
        return "send2trash is not installed: pip install 'storage-indexer[desktop]', or action = \"trash\" in the class"
    return None


def sender() -> Callable[[str], None]:
    """Return send2trash's function. Raises ImportError where it is not installed."""
    found: Callable[[str], None] = importlib.import_module("send2trash").send2trash
    return found


def send(dir_fd: int, name: bytes, pinned: int) -> str | None:
    """Send the entry `name` of a directory to the desktop's trash; None when the object `pinned` (O_PATH) went.

    Otherwise the word why not: `replaced` (another object went there, and can be taken out again). The directory's
    path is asked of its descriptor, at the last moment. Raises OSError, which send2trash's own errors are too.
    """
    before = os.readlink(f"/proc/self/fd/{pinned}")
    folder = os.readlink(f"/proc/self/fd/{dir_fd}")
    sender()(os.path.join(folder, os.fsdecode(name)))
    now = os.readlink(f"/proc/self/fd/{pinned}")
    # Within a filesystem it was renamed into a trash; between two it was copied there, and the original is gone.
    went = now != before and (now.endswith(" (deleted)") or any(_TRASH.fullmatch(part) for part in now.split("/")))
    return None if went else "replaced"


def unwatched(fd: int) -> int:
    """Exchange a descriptor with a lease for a pin without one: to copy a file, as between disks, it is opened."""
    pin: int = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
    os.close(fd)
    return pin
