"""Tell the service manager how it stands: the sd_notify protocol, one datagram."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def reloading() -> str:
    """Return what announces a reload, which ends with `READY` (sd_notify(3), RELOADING=1)."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def sd_notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send `message` to the socket that NOTIFY_SOCKET names; False when no service manager listens.

    An address that starts with @ lies in Linux's abstract namespace (sd_notify(3)). Raises OSError when the socket
    is named but cannot be reached.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(address)
        channel.sendall(message.encode())
    return True


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often the service manager wants to hear `ALIVE` at the latest; None when it does not (sd_watchdog)."""
    text = environment.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0 or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 1_000_000
