"""Where the program can run at all; what each system is promised: docs/explanation/platforms.md."""

from __future__ import annotations

import sys

from indexer.errors import PlatformError


def require_posix() -> None:
    """Raise PlatformError on Windows.

    Directories are opened and listed, locked and looked at by descriptor (`os.supports_fd`, `os.supports_dir_fd`: both
    empty there), so that nobody who exchanges a directory for a link leads us elsewhere; docs/decisions/0080.
    """
    if sys.platform == "win32":
        raise PlatformError(
            "indexer does not run on Windows itself: it needs directory descriptors and flock",
            remedy="run it in WSL 2 or a Linux container, on files that lie on a Linux filesystem",
        )
