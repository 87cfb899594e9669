"""What the audit counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Drift:
    """What the audit has found since it started."""

    checked: int = 0
    """Files compared."""
    missed: int = 0
    """In the tree, not in the index."""
    ghost: int = 0
    """In the index, not in the tree."""
    wrong: int = 0
    """In both, with another inode, size, mtime, mode or number of links."""
    late: int = 0
    """Only the allocated blocks differ: the filesystem placed them after the close, which raises no event."""

    @property
    def found(self) -> int:
        """All that should not be: late blocks are no drift."""
        return self.missed + self.ghost + self.wrong
