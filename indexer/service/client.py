"""Ask the running service of a store."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from indexer import errors
from indexer.config.trust import shown
from indexer.service.control import address, opened_directory
from indexer.service.peer import peer_of
from indexer.service.running import SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.service.peer import Peer
    from indexer.store import Store

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 5.0
"""How long a service may take to say how it is; what needs no work it answers at once."""

START = "start it with `indexer watch`"


class NoServiceError(errors.ServiceError):
    """Nobody listens at the store's socket."""


def request(
    store: Store,
    op: str,
    timeout: float | None = 30.0,
    /,
    *,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
    **arguments: Any,
) -> dict[str, Any]:
    """Send `op` to the store's service and return its answer.

    `timeout` is in seconds between two lines of the answer, None = wait for ever. Raises NoServiceError when there is
    none, ServiceError when it does not answer, and whatever IndexerError the service answered with.
    """
    with _connected(store) as connection:
        connection.settimeout(timeout)
        try:
            connection.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                for line in stream:
                    answer: dict[str, Any] = json.loads(line)
                    if "progress" not in answer:
                        return _checked(answer)
                    progress(answer["progress"])
        except TimeoutError as error:
            raise errors.ServiceError(f"the service did not answer `{op}` in time", remedy="see its log") from error
        except ConnectionError as error:
            raise errors.ServiceError("the service ended the connection", remedy="see its log") from error
    raise errors.ServiceError("the service stopped before it answered", remedy=START)


def greet(store: Store) -> None:
    """Raise ServiceError, in a few seconds, where the service is stopped or hangs, before it is asked for work."""
    request(store, "hello", ANSWER_SECONDS)


def is_answered(store: Store) -> bool:
    """Say whether somebody listens at the store's socket."""
    try:
        _connected(store).close()
    except errors.ServiceError:
        return False
    return True


def asked(socket: Path) -> tuple[dict[str, Any], Peer]:
    """Ask whoever listens at a shared socket for `hello`; return its answer, and who it is. Raises ServiceError."""
    with _connect(socket.parent, socket.name) as connection:
        connection.settimeout(CONNECT_SECONDS)
        try:
            who = peer_of(connection)
            connection.sendall(b'{"op": "hello"}\n')
            with connection.makefile("rb") as stream:
                return _checked(_document(stream.readline())), who
        except (TimeoutError, ConnectionError) as error:
            raise errors.ServiceError(f"{shown(socket)} does not answer", remedy="see the service's log") from error


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise errors.ServiceError("what answers at the socket is no service of an indexer") from error
    return document if isinstance(document, dict) else {}


def _connected(store: Store) -> socket.socket:
    """Connect to the store's socket. Raises ServiceError when there is none or nobody listens."""
    if store.socket is not None:
        return _connect(store.socket.parent, store.socket.name)
    return _connect(store.control, SOCKET)


def _connect(directory: Path, name: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        with opened_directory(directory) as opened:
            connection.connect(address(directory, opened, name))
    except OSError as error:
        connection.close()
        if error.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}:
            raise NoServiceError("no service is running for this store", remedy=START) from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise errors.ServiceError(
                "this user may not command the service",
                remedy="ask as root or as the service's user; [service] group lets others ask",
            ) from error
        raise errors.ServiceError(
            f"the service cannot be reached: {error.strerror or error}", remedy="see its log"
        ) from error
    return connection


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer, or raise the error it carries as the class that its code names."""
    failure = answer.get("error")
    if not isinstance(failure, dict):
        return answer
    code, message, remedy = (str(failure.get(key, "")) for key in ("code", "message", "remedy"))
    if code == errors.RefusedError.code:
        raise errors.RefusedError(message, guard=code, remedy=remedy)
    raise _BY_CODE.get(code, errors.ServiceError)(message, remedy=remedy)


_BY_CODE: dict[str, type[errors.IndexerError]] = {
    kind.code: kind for kind in errors.IndexerError.__subclasses__() if kind is not errors.RefusedError
}
