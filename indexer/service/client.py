"""Ask the running service of a store."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from indexer import errors
from indexer.service.control import address

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.store import Store

CONNECT_SECONDS = 10.0

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
    with _connected(store.control) as connection:
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


def service_running(store: Store) -> bool:
    """Say whether a service answers at the store's socket now (it may be degraded; a mere scan does not answer)."""
    try:
        _connected(store.control).close()
    except errors.ServiceError:
        return False
    return True


def _connected(control: Path) -> socket.socket:
    """Connect to the socket in the control directory. Raises ServiceError when there is none or nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        opened = os.open(control, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(address(control, opened))
        finally:
            os.close(opened)
    except OSError as error:
        connection.close()
        if error.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}:
            raise NoServiceError("no service is running for this store", remedy=START) from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise errors.ServiceError(
                "this user may not command the service", remedy="ask as root or as the service's user"
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
