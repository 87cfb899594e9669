"""The filesystems that a store consists of, opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from indexer.syscalls.beneath import O_PATH, open_beneath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def filesystems(names: Sequence[str], root_fd: int) -> Iterator[tuple[str, int]]:
    """Yield (name, descriptor) of each filesystem of a store, the root's ("") first; one that is not there is not."""
    yield "", root_fd
    for name in names:
        try:
            fd = open_beneath(root_fd, os.fsencode(name).strip(b"/"), O_PATH, cross=True)
        except OSError:
            continue  # not there now: nothing of it is touched, and the run has said so
        try:
            yield name, fd
        finally:
            os.close(fd)
