"""The control socket: JSON lines between a running service and whoever may command it.

One line in, `{"op": NAME, …}`. Lines out: any number of `{"progress": {…}}`, then the answer, or
`{"error": {"code", "message", "remedy"}}`. A thread per connection only queues requests and reads published state.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from indexer.errors import IndexerError, ServiceError, UsageError

SOCKET = "control.sock"
LINE_LIMIT = 65_536
"""Bytes of a request."""
CONNECTIONS = 32
READ_SECONDS = 5.0
"""How long a connection may take to say what it wants."""

log = logging.getLogger(__name__)

Answer = dict[str, Any]
Progress = Callable[[Answer], None]
"""Sends a progress line. Raises OSError once the client has gone."""


Operation = Callable[[Any, Mapping[str, Any], Progress], Answer]
"""What answers one kind of request, in a thread of its own: (service, arguments, progress). Raises IndexerError."""

OPERATIONS: dict[str, Operation] = {}
"""Every request that is understood, by name; `operation` adds to it."""


def operation(name: str) -> Callable[[Operation], Operation]:
    """Register a function as the answer to requests of this name."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return register


class ControlSocket:
    """Listens while it is entered. Raises OSError when the control directory cannot take a socket."""

    def __init__(self, directory: Path, service: Any, operations: Mapping[str, Operation] = OPERATIONS) -> None:
        self._directory = directory
        self._service = service
        self._operations = operations
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def __enter__(self) -> Self:
        self._listener = _listen(self._directory)
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
        with contextlib.suppress(FileNotFoundError), _opened(self._directory) as directory:
            os.unlink(SOCKET, dir_fd=directory)

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
            _check_peer(connection)
            connection.settimeout(READ_SECONDS)
            request = _read_request(connection)
            connection.settimeout(None)
            handler = self._operations.get(str(request.get("op")))
            if handler is None:
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


def _check_peer(connection: socket.socket) -> None:
    """Refuse anybody but root and the service's own user (SO_PEERCRED, unix(7))."""
    if not hasattr(socket, "SO_PEERCRED"):
        return  # the control directory's mode 0700 says the same
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid not in {0, os.geteuid()}:
        raise ServiceError(f"user {uid} may not command this service", remedy="ask as root or as the service's user")


def _listen(directory: Path) -> socket.socket:
    """Bind in the control directory, replacing what a killed service left (the caller holds the service's lock)."""
    with _opened(directory) as opened:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=opened)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(address(directory, opened))
            os.chmod(SOCKET, 0o600, dir_fd=opened)
            listener.listen(CONNECTIONS)
        except OSError:
            listener.close()
            raise
    return listener


def address(directory: Path, opened: int) -> str:
    """Return where the socket is: through /proc where there is one, for a path longer than sun_path's 108 bytes."""
    through = f"/proc/self/fd/{opened}/"
    return through + SOCKET if os.path.isdir(through) else os.fspath(directory / SOCKET)


@contextlib.contextmanager
def _opened(directory: Path) -> Any:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)
