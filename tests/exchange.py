"""What an attacker does: swap two names in one step (renameat2(2), RENAME_EXCHANGE)."""

from __future__ import annotations

from indexer.syscalls import rename

RENAME_EXCHANGE = 2


def exchange(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
    """Swap two names, whatever they are. Raises OSError, EINVAL where the filesystem cannot."""
    rename._renameat2(source_fd, source, target_fd, target, RENAME_EXCHANGE)
