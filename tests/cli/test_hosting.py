"""What a process that runs services does with signals."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from indexer.cli import hosting, member
from indexer.cli.hosting import Host
from indexer.cli.logs import JsonFormatter, TextFormatter
from indexer.cli.member import Opening
from indexer.errors import UsageError
from indexer.store import Store
from tests.program import PATIENCE
from tests.waiting import until


class _Endless:
    """As much of a service as is needed."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.reload = None

    def stop(self) -> None:
        """Let `serve` end."""
        self.stopped.set()


def test_the_first_signal_drains_and_the_second_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in a hurry presses Ctrl-C twice: exit 130, and the next start finds what was not written."""
    left: list[int] = []
    service = _Endless()
    monkeypatch.setattr(member, "service_of", lambda *_, **__: service)
    monkeypatch.setattr(member, "serve", lambda *_, **__: service.stopped.wait(PATIENCE))
    monkeypatch.setattr("os._exit", left.append)
    opened: Any = SimpleNamespace()
    host = Host([Opening("it", lambda: opened)], lambda: None)
    host._members[0].start({})
    until(lambda: host._members[0].service, "the service")
    host.signalled(signal.SIGTERM, None)
    assert (service.stopped.is_set(), left) == (True, [])
    host.signalled(signal.SIGTERM, None)
    assert left == [130]
    host.run()


def test_the_main_thread_sleeps_until_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next turn is an hour away: a signal that another thread got, and the end of a service, are seen at once."""
    monkeypatch.setattr(hosting, "TURN", 3600.0)
    service = _Endless()
    monkeypatch.setattr(member, "service_of", lambda *_, **__: service)
    monkeypatch.setattr(member, "serve", lambda *_, **__: service.stopped.wait(PATIENCE))
    opened: Any = SimpleNamespace()
    host = Host([Opening("it", lambda: opened)], lambda: None)
    dumped = threading.Event()
    monkeypatch.setattr(host, "dump", dumped.set)
    before = signal.signal(signal.SIGUSR1, host.asked)

    def ask() -> None:
        until(lambda: host._members[0].service, "the service")
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        dumped.wait(PATIENCE)
        service.stop()

    asking = threading.Thread(target=ask)
    try:
        asking.start()
        host.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
        asking.join(PATIENCE)
    assert dumped.is_set()


def test_stores_that_all_fail_end_the_process_with_the_first_failure() -> None:
    """`watch A B` with two wrong names says so, rather than try for ever; nobody is told that it is ready."""

    def fail(word: str) -> Store:
        raise UsageError(word)

    told: list[int] = []
    host = Host([Opening("a", lambda: fail("first")), Opening("b", lambda: fail("second"))], lambda: told.append(1))
    with pytest.raises(UsageError, match=r"first|second"):
        host.run()
    assert told == []


NAME = "evil\n\x1b[31m\udcff"


def test_a_log_for_programs_is_one_object_a_line() -> None:
    """Time, level, logger, message, store, state and trace; a file's name can neither end the line nor hide in it."""
    try:
        raise ValueError(NAME)
    except ValueError:
        record = logging.LogRecord("indexer.x", logging.WARNING, "f", 1, "gone: %s", (NAME,), sys.exc_info())
    record.created = 1_000_000_000.5
    record.__dict__.update(store="/srv/media", state={"files": 1})
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert "\n" not in line
    document = json.loads(line)
    assert document.pop("error").startswith("Traceback")
    assert document == {
        "time": "2001-09-09T01:46:40.500Z",
        "level": "warning",
        "logger": "indexer.x",
        "message": "gone: evil\\n\\x1b[31m\\xff",
        "store": "/srv/media",
        "state": {"files": 1},
    }


def test_a_log_for_people_is_a_line_with_names_escaped() -> None:
    """The store is named where there is one."""
    record = logging.LogRecord("indexer.x", logging.WARNING, "f", 1, "gone: %s", ("\x1b[31m",), None)
    record.__dict__.update(store="/srv/media")
    assert TextFormatter().format(record).endswith("WARNING indexer.x: gone: \\x1b[31m [/srv/media]")


def test_a_service_manager_that_has_gone_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The notification is a courtesy."""

    def gone(_message: str) -> bool:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(hosting, "sd_notify", gone)
    hosting.tell_manager("READY=1")
    assert "Connection refused" in caplog.text
