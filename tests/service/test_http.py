"""HTTP as programs use it: health, metrics, status and usage; who may ask; and nothing that could be written."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.config import read_config
from indexer.config.listen import Address, read_address
from indexer.errors import ConfigError, NotScannedError, UsageError
from indexer.service.daemon import Service as Daemon
from indexer.service.health import health_of, unavailable
from indexer.service.state import REASONS
from indexer.service.web import View
from indexer.store import Store
from tests.program import PATIENCE, Program, Service
from tests.service.scheduled import scheduled
from tests.waiting import until

SECRET = "0123456789abcdef0123"  # noqa: S105 - of these tests


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Web:
    """A client of one address, as `watch` says it on stderr."""

    def __init__(self, where: str) -> None:
        self.where = where

    @classmethod
    def of(cls, service: Service) -> Web:
        """Find the address in what the service has said."""
        line = next(line for line in service.log if line.startswith("http: "))
        return cls(line.removeprefix("http: ").strip())

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Return (status, body)."""
        if self.where.startswith("unix:"):
            connection: http.client.HTTPConnection = Unix(self.where.removeprefix("unix:"))
        else:
            connection = http.client.HTTPConnection(self.where.removeprefix("http://"), timeout=PATIENCE)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """Return the document at a path that must be there."""
        code, body = self.ask(path)
        assert code == 200, body
        return json.loads(body)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with three expired files."""
    return scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')


@pytest.fixture
def running(program: Program, store: Store) -> Iterator[tuple[Service, Web]]:
    """Return a service with HTTP at a free port of the loopback."""
    with program.watch(store.root, "--http", "127.0.0.1:0") as service:
        service.settle()
        yield service, Web.of(service)


def test_all_that_is_there(running: tuple[Service, Web]) -> None:
    """Health, status, usage, metrics and the document that describes them."""
    _, web = running
    health = web.json("/health")
    assert (health["status"], health["state"], health["pending"]) == ("ok", "clean", 0)
    status = web.json("/api/status")
    assert (status["state"], status["files"], [job["name"] for job in status["jobs"]]) == ("clean", 3, ["cleanup"])
    usage = {row["class"]: row["files"] for row in web.json("/api/usage")["rows"] if not row["trash"]}
    assert usage == {"uploads": 3}
    assert set(web.json("/openapi.json")["paths"]) == {"/health", "/metrics", "/api/status", "/api/usage"}


def samples(text: str) -> dict[str, float]:
    """Return the lines of an exposition: name with labels -> value."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


def test_metrics_have_figures_and_no_path(running: tuple[Service, Web], store: Store, program: Program) -> None:
    """The names of the contract with their values; `indexer metrics` says the same."""
    service, web = running
    code, text = web.ask("/metrics")
    assert code == 200
    found = samples(text)
    assert found['indexer_files{class="uploads",tier="hot"}'] == 3
    assert found['indexer_bytes{class="uploads",tier="hot"}'] == 15_000
    assert found['indexer_allocated_bytes{class="uploads",tier="hot"}'] == 3 * 8192
    assert found['indexer_state{state="clean"}'] == 1
    assert found['indexer_degraded{reason="canary_failed"}'] == 0
    assert (found["indexer_up"], found["indexer_overflows_total"], found["indexer_due_files"]) == (1, 0, 3)
    assert found["indexer_events_total"] >= 0
    assert "indexer_lag_seconds" in found
    assert str(store.root) not in text
    assert "uploads/" not in text
    program.run("cleanup", store.root, "-y")
    service.settle()  # the time of the last event is there from the first one on
    found = samples(web.ask("/metrics")[1])
    assert found['indexer_removed_files_total{kind="cleanup"}'] == 3
    assert found['indexer_last_success_timestamp_seconds{kind="cleanup"}'] > 1_700_000_000
    printed = samples(program.run("metrics", store.root).stdout)
    assert samples(program.json("metrics", store.root)["text"]).keys() == printed.keys()
    assert printed.keys() == found.keys()


def test_metrics_of_a_store_without_service(program: Program, store: Store) -> None:
    """Figures of the index, and `indexer_up 0`."""
    found = samples(program.run("metrics", store.root).stdout)
    assert (found["indexer_up"], found['indexer_files{class="uploads",tier="hot"}']) == (0, 3)


def test_health_flips_when_the_root_goes_and_comes_back(running: tuple[Service, Web], store: Store) -> None:
    """503 with the reason's code and without the two letters, 200 again when it is back."""
    _, web = running
    away = store.root.rename(store.root.with_name("away"))
    try:
        until(lambda: web.ask("/health")[0] == 503, "503", patience=10)
        _, body = web.ask("/health")
        assert json.loads(body) == {"status": "unhealthy", "reasons": ["root_missing"]}
        assert "ok" not in body.lower()
        assert web.ask("/health", Host="evil.example")[0] == 503
    finally:
        away.rename(store.root)
    until(lambda: web.ask("/health")[0] == 200, "200 again", patience=20)


def test_a_writer_that_takes_no_turn_is_unhealthy() -> None:
    """A living process proves nothing; neither does a thread that hangs."""
    from indexer.service.daemon import Service as Daemon
    from indexer.service.state import REASONS

    service = Daemon(lambda: pytest.fail("not run"))
    service.board.update(ready=True)
    assert health_of(service)[0] == 200
    assert health_of(service, lambda: service.beat + 61)[1]["reasons"] == ["not_answering"]
    for reason in REASONS:
        service.board.degrade(reason, "…")
        code, document = health_of(service)
        assert (code, document["reasons"]) == (503, [reason])
        assert "ok" not in json.dumps(document).lower()
        service.board.recover(reason)
    service.stop()
    assert health_of(service)[1]["reasons"] == ["stopping"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(running: tuple[Service, Web], method: str) -> None:
    """405 for every other method on every path."""
    for path in ("/health", "/metrics", "/api/status", "/api/usage"):
        assert running[1].ask(path, method)[0] == 405
    assert running[1].ask("/api/nothing")[0] == 404


def test_another_host_is_refused_but_for_health(running: tuple[Service, Web]) -> None:
    """A page in a browser cannot reach the loopback by a name of its own."""
    _, web = running
    assert [web.ask(path, Host="evil.example")[0] for path in ("/health", "/metrics", "/api/status")] == [200, 421, 421]
    assert [web.ask("/metrics", Host=host)[0] for host in ("localhost:1", "127.0.0.1", "[::1]:8181")] == [200] * 3


def test_a_token_is_asked_for(program: Program, store: Store, tmp_path: Path) -> None:
    """Without it 401, but for health; at an address that others reach, with the hosts that were allowed."""
    token = tmp_path / "token"
    token.write_text(SECRET + "\n")
    token.chmod(0o600)
    _configure(store, f'listen = "0.0.0.0:0"\ntoken_file = "{token}"\nallowed_hosts = ["files.example"]')
    with program.watch(store.root) as service:
        web = Web(Web.of(service).where.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104 - what is replaced
        right = {"Authorization": f"Bearer {SECRET}"}
        assert web.ask("/health")[0] == 200
        assert web.ask("/api/status", Host="files.example:80")[0] == 401
        assert web.ask("/api/status", Host="files.example", Authorization=f"Bearer {SECRET}x")[0] == 401
        assert web.ask("/api/status", Host="files.example", **right)[0] == 200
        assert web.ask("/api/status", Host="127.0.0.1", **right)[0] == 421


def _configure(store: Store, http: str) -> None:
    assert store.config.path is not None
    with open(store.config.path, "a", encoding="utf-8") as stream:
        stream.write(f"[http]\n{http}\n")


def test_a_unix_socket(program: Program, store: Store, tmp_path: Path) -> None:
    """Mode 0660, whatever Host says; what a killed service left is replaced, and it is gone at the end."""
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    _configure(store, f'listen = "unix:{path}"')
    with program.watch(store.root) as service:
        web = Web.of(service)
        assert web.where == f"unix:{path}"
        assert web.ask("/metrics", Host="whatever")[0] == 200
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        other = program.run("watch", store.root, "--http", f"unix:{path}", exits=5)
        assert "lock" in other.stderr
    assert not path.exists()


def test_an_address_that_is_taken_is_a_clear_error(program: Program, store: Store) -> None:
    """Exit 2 with the address and the kernel's word; the service does not run without what was asked for."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = program.run("watch", store.root, "--http", where, exits=2)
        assert f"cannot listen on {where}: Address already in use" in failed.stderr


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [("short\n", 0o600, "no token of at least 16"), (SECRET, 0o604, "read by everybody"), (None, 0, "No such file")],
)
def test_a_token_that_is_none_is_refused(
    program: Program, store: Store, tmp_path: Path, content: str | None, mode: int, message: str
) -> None:
    """Exit 2 before anything listens."""
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
        token.chmod(mode)
    _configure(store, f'listen = "127.0.0.1:0"\ntoken_file = "{token}"')
    assert message in program.run("watch", store.root, exits=2).stderr


def test_an_address_beyond_this_host_needs_token_and_hosts(program: Program, store: Store) -> None:
    """By configuration both problems at once; by flag exit 2."""
    with pytest.raises(ConfigError) as caught:
        read_config(b'[http]\nlisten = "0.0.0.0:80"', path=None, environ={})
    assert [problem["key"] for problem in caught.value.problems] == ["http.token_file", "http.allowed_hosts"]
    assert "no token" in program.run("watch", store.root, "--http", "0.0.0.0:0", exits=2).stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8181", Address(host="127.0.0.1", port=8181)),
        ("[::1]:80", Address(host="::1", port=80)),
        ("LOCALHOST:0", Address(host="localhost")),
        ("unix:/run/x.sock", Address(path="/run/x.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """All of these are of this host only."""
    assert read_address(text) == address
    assert address.private


@pytest.mark.parametrize("text", ["8181", "127.0.0.1", "unix:", "host:65536", "http://x:1", "::1:80"])
def test_what_is_no_address(text: str) -> None:
    """Refused with a remedy."""
    with pytest.raises(UsageError):
        read_address(text)


def test_the_end_does_not_wait_for_a_client(running: tuple[Service, Web]) -> None:
    """An open connection that says nothing delays no shutdown."""
    service, web = running
    host, _, port = web.where.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))):
        assert service.stop(signal.SIGTERM) == 0


def test_schemathesis_finds_nothing(running: tuple[Service, Web], tmp_path: Path) -> None:
    """Fuzzed against its own OpenAPI document: no 500, no answer that the document does not describe."""
    pytest.importorskip("schemathesis")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{running[1].where}/openapi.json",
            "--max-examples",
            "15",
            "--workers",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("reason", REASONS)
def test_no_reason_is_mistaken_for_health(reason: str) -> None:
    """503 with the code itself, and nowhere the two letters that people grep for."""
    service = Daemon(lambda: pytest.fail("not run"))
    service.board.degrade(reason, "ok: what exactly happened is not told here")
    code, document = health_of(service)
    assert (code, document) == (503, {"status": "unhealthy", "reasons": [reason]})
    assert "ok" not in json.dumps(document).lower()


def test_no_503_has_the_letters_whatever_a_store_is_called(tmp_path: Path) -> None:
    """A path, a remedy, a word of somebody else's: the code alone is left of it, also in an application's routes."""
    store = scheduled(tmp_path / "BOOKS", "", scan=False)
    view = View(store, time.time)
    with pytest.raises(NotScannedError) as caught:
        view.status()
    assert "BOOKS" in caught.value.message
    assert unavailable(caught.value) == {"error": {"code": "not_scanned", "message": "", "remedy": ""}}
    assert unavailable(NotScannedError("/srv", remedy="scan"))["error"]["message"] == "/srv"
    assert view.health() == (503, {"status": "unhealthy", "reasons": ["stopped"]})
