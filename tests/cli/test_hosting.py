"""What a process that runs services does with signals."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from indexer.cli import hosting
from indexer.cli.hosting import Host


def test_the_first_signal_drains_and_the_second_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in a hurry presses Ctrl-C twice: exit 130, and the next start finds what was not written."""
    stopped: list[str] = []
    left: list[int] = []
    service: Any = SimpleNamespace(stop=lambda: stopped.append("service"))
    monkeypatch.setattr(hosting, "service_of", lambda *_, **__: service)
    monkeypatch.setattr("os._exit", left.append)
    store: Any = None
    host = Host([store], None, lambda: None, schedule=False)
    host.signalled(signal.SIGTERM, None)
    assert (stopped, left) == (["service"], [])
    host.signalled(signal.SIGTERM, None)
    assert left == [130]


def test_a_service_manager_that_has_gone_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The notification is a courtesy."""

    def gone(_message: str) -> bool:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(hosting, "sd_notify", gone)
    hosting._tell_manager("READY=1")
    assert "Connection refused" in caplog.text
