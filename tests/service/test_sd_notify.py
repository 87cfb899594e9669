"""The one datagram that systemd waits for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from indexer.service.sd_notify import READY, sd_notify


def test_ready_reaches_a_real_socket(tmp_path: Path) -> None:
    """With NOTIFY_SOCKET set, exactly the message arrives."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        assert sd_notify(READY, {"NOTIFY_SOCKET": str(path)})
        assert manager.recv(100) == b"READY=1"


def test_an_abstract_address_starts_with_at() -> None:
    """@NAME is Linux's abstract namespace."""
    name = f"indexer-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        assert sd_notify(READY, {"NOTIFY_SOCKET": "@" + name})
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}])
def test_without_a_service_manager_nothing_is_sent(environment: dict[str, str]) -> None:
    """Started by hand there is nobody to tell."""
    assert not sd_notify(READY, environment)
