"""Where HTTP listens: `127.0.0.1:8181`, `[::1]:8181`, `unix:PATH`."""

from __future__ import annotations

import re
from typing import NamedTuple

from indexer.config.kinds import TEXT, Kind
from indexer.errors import UsageError

_TCP = re.compile(r"(?:\[([0-9A-Fa-f:.%a-z]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})", re.ASCII)
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1", re.ASCII)


class Address(NamedTuple):
    """Either a socket's path, or host and port (0: any free one)."""

    path: str | None = None
    host: str = ""
    port: int = 0

    @property
    def private(self) -> bool:
        """Only this host can reach it, so neither a token nor allowed hosts are required."""
        return self.path is not None or _LOOPBACK.fullmatch(self.host) is not None


def read_address(text: str) -> Address:
    """Return what `text` means. Raises UsageError with a remedy."""
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise UsageError("names no socket", remedy="write unix:/run/indexer/http.sock")
        return Address(path=text.removeprefix("unix:"))
    found = _TCP.fullmatch(text)
    if found is None or int(found[3]) > 65_535:
        raise UsageError(f"{text!r} is no address", remedy='write "127.0.0.1:8181", "[::1]:8181" or "unix:PATH"')
    return Address(host=(found[1] or found[2]).lower(), port=int(found[3]))


def _listen(value: object) -> str:
    text: str = TEXT.parse(value)
    read_address(text)
    return text


LISTEN = Kind("address: 127.0.0.1:8181, unix:PATH", _listen, plain=True)
