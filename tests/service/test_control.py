"""The control socket: who may ask, what is answered, and that no request harms the service."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from indexer.errors import BusyError, RefusedError, ServiceError, UsageError
from indexer.service import client
from indexer.service.control import LINE_LIMIT, Answer, ControlSocket, Progress
from indexer.service.peer import check_peer, peer_of
from indexer.service.running import SOCKET
from tests.capabilities import require


@dataclass
class StoreAt:
    """As much of a store as the client needs."""

    control: Path
    socket: Path | None = None


def _echo(service: Any, arguments: Mapping[str, Any], progress: Progress) -> Answer:
    progress({"files": 1})
    return {"service": service, "said": arguments["word"]}


def _busy(*_: Any) -> Answer:
    raise BusyError("a run is under way", remedy="wait")


def _refused(*_: Any) -> Answer:
    raise RefusedError("no", guard="mode", remedy="set it")


def _broken(*_: Any) -> Answer:
    raise ZeroDivisionError("defect")


@pytest.fixture
def store(tmp_path: Path) -> StoreAt:
    """Make a control directory whose path is longer than a socket address may be."""
    deep = tmp_path / ("x" * 120) / ".indexer"
    deep.mkdir(parents=True)
    return StoreAt(deep)


@pytest.fixture
def serving(store: StoreAt) -> Iterator[StoreAt]:
    """Answer four operations at `store`."""
    operations = {"echo": _echo, "busy": _busy, "refused": _refused, "broken": _broken}
    with ControlSocket(store.control, "it", operations):
        yield store


def ask(store: Any, op: str, **arguments: Any) -> dict[str, Any]:
    """Request `op`, keeping what came as progress."""
    seen: list[dict[str, Any]] = []
    answer = client.request(store, op, 10, progress=seen.append, **arguments)
    return {**answer, "progress": seen}


def raw(store: StoreAt, data: bytes) -> dict[str, Any]:
    """Send bytes and read the answer."""
    opened = os.open(store.control, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"/proc/self/fd/{opened}/{SOCKET}")
        os.close(opened)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            answer: dict[str, Any] = json.loads(stream.readline())
    return answer


def test_a_request_is_answered_below_any_path(serving: StoreAt) -> None:
    """Progress lines come first, then the answer; the socket's path may be longer than 108 bytes."""
    assert ask(serving, "echo", word="é") == {"service": "it", "said": "é", "progress": [{"files": 1}]}


def test_errors_keep_their_class_message_and_remedy(serving: StoreAt) -> None:
    """An error of the service is the same error at the client, so that exit codes agree."""
    with pytest.raises(BusyError, match="a run is under way") as caught:
        ask(serving, "busy")
    assert caught.value.remedy == "wait"
    with pytest.raises(RefusedError):
        ask(serving, "refused")


def test_a_defect_in_an_operation_leaves_the_service_alive(serving: StoreAt) -> None:
    """The caller is told; the next request is answered."""
    with pytest.raises(ServiceError, match="ZeroDivisionError"):
        ask(serving, "broken")
    assert ask(serving, "echo", word="again")["said"] == "again"


@pytest.mark.parametrize(
    "data",
    [b"\n", b"{\n", b"[]\n", b"\xff\xfe\n", b'{"op": ["echo"]}\n', b'{"op": "nothing"}\n', b"x" * (LINE_LIMIT + 2)],
)
def test_nonsense_is_a_usage_error(serving: StoreAt, data: bytes) -> None:
    """Whatever is sent, the answer is one line and the service goes on."""
    assert raw(serving, data)["error"]["code"] == "usage"
    assert ask(serving, "echo", word="on")["said"] == "on"


def test_an_unknown_operation_names_the_remedy(serving: StoreAt) -> None:
    """A newer client beside an older service."""
    with pytest.raises(UsageError, match="nothing"):
        ask(serving, "nothing")


def test_without_a_service_the_error_says_how_to_start_one(store: Any) -> None:
    """No socket, a stale socket, no control directory: the same error."""
    with pytest.raises(ServiceError, match="no service is running") as caught:
        client.request(store, "status")
    assert "indexer watch" in caught.value.remedy
    stale = socket.socket(socket.AF_UNIX)
    opened = os.open(store.control, os.O_RDONLY)
    stale.bind(f"/proc/self/fd/{opened}/{SOCKET}")
    os.close(opened)
    stale.close()
    with pytest.raises(ServiceError, match="no service is running"):
        client.request(store, "status")


def test_a_stale_socket_is_replaced_and_a_clean_stop_leaves_none(store: StoreAt) -> None:
    """After a kill -9 the socket file is still there; the next service binds all the same."""
    (store.control / SOCKET).write_bytes(b"")
    with ControlSocket(store.control, "it", {"echo": _echo}):
        assert (store.control / SOCKET).stat().st_mode & 0o777 == 0o600
        assert ask(store, "echo", word="x")["said"] == "x"
    assert not (store.control / SOCKET).exists()


def test_other_users_are_refused(public_tmp: Path) -> None:
    """Peer credentials decide, not the mode of the socket alone."""
    require("CAP_SYS_ADMIN")
    path = public_tmp / "open.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        child = os.fork()  # not a new interpreter: another user may not be allowed to read ours
        if child == 0:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(str(path))
                stranger.recv(1)
            os._exit(0)
        connection, _ = listener.accept()
        with connection, pytest.raises(ServiceError, match="65534"):
            check_peer(peer_of(connection), "owner", frozenset())
        os.waitpid(child, 0)
