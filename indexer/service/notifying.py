"""`[notify] command`: how people are told. Without a shell, with a timeout, the document on its standard input.

Every document has the keys of `document`; the reference of the events is docs/reference/notification.schema.json.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from indexer.enforce.ledger import Ledger
from indexer.errors import IndexerError
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from indexer.config.model import NotifyConfig
    from indexer.store import Store

log = logging.getLogger(__name__)

SCHEMA = "indexer.notification/1"
EVENTS: Final = {
    "expiring": "these files will go, from these moments on; a class with `warn_before` waits for this",
    "guard_refused": "a guard refused a run; nothing was removed, and nothing will be until a run goes through",
    "watermark_reached": "a filesystem of the store was too full, and room was made",
    "low_mark_unreachable": "a filesystem is too full, and not enough may go to come down to its low mark",
    "degraded": "the service can no longer vouch for the index, or a run was refused; `reason` says which",
    "recovered": "what it was degraded for has passed",
    "test": "somebody has run `indexer notify`",
}
"""Every `event`, and what it means."""
_SAID = 2000
"""Bytes of what a failing command says that are kept."""
_GRACE = 1.0
"""Seconds to read what a command has said once it has ended; a child of its own may hold the pipe open."""


def document(store: Store, event: str, now: float, message: str, **details: Any) -> dict[str, Any]:
    """Return what the command gets: the keys that every event has, then its own. `now` is Unix seconds."""
    return {
        "schema": SCHEMA,
        "event": event,
        "at": int(now),
        "host": socket.gethostname(),
        "store": str(store.root),
        "store_id": store.id,
        "message": message,
        **details,
    }


def run_command(config: NotifyConfig, told: dict[str, Any]) -> str | None:
    """Run the command with the document on its standard input; return None when it ended well, else what went wrong.

    It gets a process group of its own, which is ended after `timeout` seconds. What it writes is read only to say why
    it failed.
    """
    with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else _memory() as file:
        file.write(json.dumps(told, ensure_ascii=True).encode() + b"\n")
        file.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - the owner of the configuration says what is run
                config.command,
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            return f"{show_text(config.command[0])}: {words}"
        said = _Tail(process.stderr)
        try:
            code = process.wait(config.timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"{show_text(config.command[0])} did not end within {config.timeout} s"
    words = said.text()
    if code == 0:
        return None
    how = f"was ended by signal {-code}" if code < 0 else f"exit {code}"
    return f"{show_text(config.command[0])}: {how}" + (f": {words}" if words else "")


def _memory() -> IO[bytes]:
    """Return a file that needs no disk: the disk may be full, which is what people are to be told."""
    return os.fdopen(os.memfd_create("indexer-notification", os.MFD_CLOEXEC), "w+b")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it ended just now
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Tail:
    """Reads a pipe to its end, and remembers the last of it."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self._last = b""
        self._thread = threading.Thread(target=self._read, args=(pipe,), name="notify-stderr", daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            return
        with pipe:
            while part := os.read(pipe.fileno(), 65536):
                self._last = (self._last + part)[-_SAID:]

    def text(self) -> str:
        self._thread.join(_GRACE)
        return show_text(" ".join(self._last.decode("utf-8", "replace").split()))


def tell(store: Store, events: Iterable[tuple[str, dict[str, Any]]], now: float) -> list[str]:
    """Tell of events, each (what it is about, its document), no more often than `[notify] every`; return what failed.

    Never raises for want of a ledger or of a command: telling is beside the work, not part of it.
    """
    config = store.config.notify
    failed: list[str] = []
    if config is None:
        return failed
    for about, told in events:
        what = f"{told['event']} {about}"
        passed = _allowed(store, what, int(now), config.every)
        if passed is None:
            continue
        error = run_command(config, {**told, "suppressed": passed})
        if error is not None:
            failed.append(error)
            log.warning("nobody was told of %s: %s", told["event"], error)
            _take_back(store, what)
    return failed


def _allowed(store: Store, what: str, now: int, every: int) -> int | None:
    try:
        with Ledger.open(store.ledger_path) as ledger:
            return ledger.may_tell(what, now, every)
    except (IndexerError, OSError) as error:
        log.warning("what was told is not noted: %s", show_text(str(error)))
        last = _UNNOTED.get((store.id, what))
        if last is not None and last <= now < last + every:
            return None
        _UNNOTED[store.id, what] = now
        return 0


def _take_back(store: Store, what: str) -> None:
    _UNNOTED.pop((store.id, what), None)
    try:
        with Ledger.open(store.ledger_path) as ledger:
            ledger.not_told(what)
    except (IndexerError, OSError) as error:
        log.warning("what was told is not noted: %s", show_text(str(error)))


_UNNOTED: dict[tuple[str, str], int] = {}
"""What this process has told while the ledger could not be written."""
