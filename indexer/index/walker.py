"""A second process that lists and stats ahead of the writer: a scan then uses two cores.

The writer still decides and writes everything. Since the stats are a little older than the write, a hint about a
directory that is under way marks it as doubted, and it is listed by the writer itself: nothing newer is overwritten.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from indexer.index.walk_process import ANSWER, GONE, REQUEST
from indexer.syscalls.stat import STATX_SIZE

if TYPE_CHECKING:
    from indexer.index.backlog import Listing
    from indexer.index.directories import Filesystem
    from indexer.index.turn import Turn

AHEAD = 48
"""Directories under way at once."""
REQUEST_BYTES = 24_000
"""Of requests under way: they must fit into the pipe, or both sides could wait for each other. A single one may be
larger (a path in a deep tree): then the walker reads, and has nothing to write."""
PIPE_BYTES = 1 << 20
PROGRAM = ""
"""What a test adds."""


class Asked(NamedTuple):
    """A request under way."""

    listing: Listing
    verify: bool
    turn: int
    """Number of the transaction that asked."""
    at_ns: int
    """Its time, in Unix nanoseconds: the directory is listed after that."""
    size: int
    """Of the request, in bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One directory as the walker found it."""

    code: int
    """0, an errno, or `walk_process.GONE`."""
    count: int
    own: bytes
    """The directory's own struct statx, taken before it was listed."""
    names: bytes
    stats: memoryview
    asked: Asked
    doubted: bool
    """Something happened in it meanwhile: what was found may be old."""


class WalkerDiedError(Exception):
    """The process ended: everything under way has to be asked for again."""


class Walker:
    """The writer's end."""

    def __init__(self, filesystems: list[Filesystem]) -> None:
        """Start the process. Raises OSError."""
        present = [filesystem for filesystem in filesystems if not filesystem.absent]
        fds = [filesystem.fd for filesystem in present]
        package = str(Path(__file__).resolve().parent.parent.parent)
        program = (
            f"import sys; sys.path.insert(0, {package!r}); sys.argv[0] = 'indexer-walker';"
            f" from indexer.index import walk_process as w; {PROGRAM}"
            "w.serve(int(sys.argv[1]), dict(tuple(map(int, each.split(':'))) for each in sys.argv[2:]))"
        )
        mounts = [f"{filesystem.id}:{filesystem.fd}" for filesystem in present]
        import subprocess  # only passes over the tree want it

        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", "-c", program, str(fds[0]), *mounts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        self._most = REQUEST_BYTES
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(PermissionError):  # over the user's share of pipe memory: smaller pieces do as well
                fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            # one page where that share is used up; small writes fill a page at least by half
            self._most = min(REQUEST_BYTES, fcntl.fcntl(self._requests, fcntl.F_GETPIPE_SZ) // 2)
        self._under_way: deque[Asked] = deque()
        self._bytes = 0
        self._doubted: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def urgent(self) -> bool:
        """Something is under way that is not mere verification."""
        return any(not asked.verify for asked in self._under_way)

    @property
    def room(self) -> bool:
        """Another directory may be asked for."""
        return len(self._under_way) < AHEAD and self._bytes < self._most

    def request(
        self, listing: Listing, turn: Turn, filesystem_id: int, handle: bytes, path: bytes, *, verify: bool
    ) -> bool:
        """Ask for a directory; False: not before something has been received.

        `path` may be empty where handles can be opened. Raises WalkerDiedError.
        """
        message = REQUEST.pack(listing.directory_id, filesystem_id, len(handle), len(path)) + handle + path
        if self._under_way and self._bytes + len(message) > self._most:
            return False
        self._under_way.append(Asked(listing, verify, turn.number, turn.now_ns, len(message)))
        self._bytes += len(message)
        try:
            while message:
                message = message[os.write(self._requests, message) :]
        except BrokenPipeError as error:
            raise WalkerDiedError from error
        return True

    def doubt(self, directory_id: int) -> None:
        """Something happened in a directory: if it is under way, what comes back may be old."""
        if self._under_way:
            self._doubted.add(directory_id)

    def receive(self) -> Answer:
        """Wait for the oldest request's answer. Raises WalkerDiedError."""
        asked = self._under_way[0]
        directory_id, code, count, length = ANSWER.unpack(self._read(ANSWER.size))
        if directory_id != asked.listing.directory_id:
            raise WalkerDiedError
        own = bytes(self._read(STATX_SIZE))
        names = bytes(self._read(length))
        stats = self._read(count * STATX_SIZE)
        self._under_way.popleft()
        self._bytes -= asked.size
        doubted = directory_id in self._doubted
        self._doubted.discard(directory_id)
        if not self._under_way:
            self._doubted.clear()
        return Answer(code, count, own, names, stats, asked, doubted)

    def abandon(self) -> list[Asked]:
        """End the process; return what was under way."""
        left = list(self._under_way)
        self._under_way.clear()
        self._process.kill()  # before its pipes are closed, which it would complain about
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 - asked for above
            pipe.close()
        return left

    def _read(self, size: int) -> memoryview:
        buffer = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            got = os.readv(self._answers, [buffer[filled:]])
            if not got:
                raise WalkerDiedError
            filled += got
        return buffer


__all__ = ["GONE", "Answer", "Walker", "WalkerDiedError"]
