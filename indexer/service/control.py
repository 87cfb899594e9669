"""The control socket: JSON lines between a running service and whoever may command it.

One line in, `{"op": NAME, …}`. Lines out: any number of `{"progress": {…}}`, then the answer, or
`{"error": {"code", "message", "remedy"}}`. A thread per connection only queues requests and reads published state.
There are two such sockets at most: the owner's in the control directory, and that of `[service]` for others, each with
places of its own, so that a crowd at the second keeps nobody from the first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from indexer.config.trust import PATH
from indexer.errors import IndexerError, UsageError
from indexer.service.peer import Level, check_peer, peer_of
from indexer.service.running import SOCKET

LINE_LIMIT = 65_536
"""Bytes of a request."""
CONNECTIONS = 32
READ_SECONDS = 5.0
"""How long a connection may take to say what it wants."""
SEND_SECONDS = 60.0
"""How long a peer that is not the owner may take to read a part of its answer: it holds one of 32 places."""

log = logging.getLogger(__name__)

Answer = dict[str, Any]
Progress = Callable[[Answer], None]
"""Sends a progress line. Raises OSError once the client has gone."""


Operation = Callable[[Any, Mapping[str, Any], Progress], Answer]
"""What answers one kind of request, in a thread of its own: (service, arguments, progress). Raises IndexerError."""

OPERATIONS: dict[str, Operation] = {}
"""Every request that is understood, by name; `operation` adds to it."""
LEVELS: dict[str, Level] = {}
"""What it takes to ask for each; what is not here is for the owner."""
PEER = "peer"
"""Key of the arguments under which an operation finds who asks; whatever a request says there is overwritten."""


def operation(name: str, level: Level = "owner") -> Callable[[Operation], Operation]:
    """Register a function as the answer to requests of this name, from those who may ask for so much."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        LEVELS[name] = level
        return function

    return register


@dataclass(frozen=True, slots=True)
class Place:
    """Where a socket lies, and who may connect to it."""

    directory: Path
    name: str = SOCKET
    mode: int = 0o600
    group: int = -1
    """Group id; -1: the process's own."""
    ours: bool = True
    """Nobody else binds here: what lies at the name is what a killed service left (its lock is held)."""


class ControlSocket:
    """Listens while it is entered. Raises OSError when the control directory cannot take a socket."""

    def __init__(
        self,
        place: Place | Path,
        service: Any,
        operations: Mapping[str, Operation] = OPERATIONS,
        *,
        allow: frozenset[str] = frozenset(),
    ) -> None:
        """`allow` is what peers that are not the owner may do here: words of `[service] allow`."""
        self._place = place if isinstance(place, Place) else Place(place)
        self._allow = allow
        self._service = service
        self._operations = operations
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def __enter__(self) -> Self:
        self._listener = _listen(self._place)
        self._accepting = threading.Thread(target=self._accept, name="indexer-control", daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):  # ENOTCONN on BSD; closing is what counts
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept() on Linux; close alone does not
            self._listener.close()
        if self._accepting is not None:
            self._accepting.join()
        with contextlib.suppress(FileNotFoundError), opened_directory(self._place.directory) as directory:
            os.unlink(self._place.name, dir_fd=directory)

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED}:
                    log.warning("control socket: %s", error.strerror)
                    continue
                return  # EINVAL or EBADF: closed
            if not self._free.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="indexer-request", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._answer(connection)
        except OSError as error:
            log.debug("control socket: the client went away: %s", error)
        finally:
            self._free.release()

    def _answer(self, connection: socket.socket) -> None:
        def send(document: Answer) -> None:
            connection.sendall(json.dumps(document).encode() + b"\n")

        try:
            peer = peer_of(connection)
            if not self._allow:
                check_peer(peer, "owner", self._allow)
            connection.settimeout(READ_SECONDS)
            request = {**_read_request(connection), PEER: peer}
            connection.settimeout(None if peer.owner else SEND_SECONDS)
            handler = self._operations.get(str(request.get("op")))
            if handler is not None:
                check_peer(peer, LEVELS.get(str(request.get("op")), "owner"), self._allow)
            else:
                raise UsageError(f"the service knows no operation {request.get('op')!r}", remedy="restart the service")
            answer = handler(self._service, request, lambda figures: send({"progress": figures}))
        except IndexerError as error:
            answer = {"error": {"code": error.code, "message": error.message, "remedy": error.remedy}}
        except OSError:
            raise
        except Exception as error:
            # The edge: a defect in one operation answers its caller and leaves the service alive.
            log.exception("control socket: an operation failed")
            answer = {"error": {"code": "service", "message": f"{type(error).__name__}: {error}", "remedy": ""}}
        send(answer)


def _read_request(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as stream:
        line = stream.readline(LINE_LIMIT + 1)
    if len(line) > LINE_LIMIT:
        raise UsageError("the request is too long")
    try:
        request = json.loads(line)
    except ValueError as error:
        raise UsageError("the request is not a line of JSON") from error
    if not isinstance(request, dict):
        raise UsageError("the request is not a JSON object")
    return request


def _listen(place: Place) -> socket.socket:
    """Bind, replacing what a killed service left; nobody can connect before mode and group are right."""
    with opened_directory(place.directory) as opened:
        with contextlib.suppress(FileNotFoundError):
            if place.ours or not answers(place.directory / place.name):
                os.unlink(place.name, dir_fd=opened)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(address(place.directory, opened, place.name))
            os.chmod(place.name, 0o600, dir_fd=opened)
            if place.group >= 0:
                os.chown(place.name, -1, place.group, dir_fd=opened, follow_symlinks=False)
            os.chmod(place.name, place.mode, dir_fd=opened)
            listener.listen(CONNECTIONS)
        except OSError:
            listener.close()
            raise
    return listener


def address(directory: Path, opened: int, name: str = SOCKET) -> str:
    """Return where the socket is: through /proc where there is one, for a path longer than sun_path's 108 bytes."""
    through = f"/proc/self/fd/{opened}/"
    return through + name if os.path.isdir(through) else os.fspath(directory / name)


def answers(path: Path) -> bool:
    """Say whether a process listens at a socket's path; what is no socket is taken for somebody's."""
    with opened_directory(path.parent) as opened, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address(path.parent, opened, path.name))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                return False
            raise
    return True


@contextlib.contextmanager
def opened_directory(directory: Path) -> Iterator[int]:
    """Open a directory to reach what lies in it."""
    opened = os.open(directory, PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # others may only search the shared one's
    try:
        yield opened
    finally:
        os.close(opened)
