"""The program from outside: its command line, a running `watch`, and what its index says.

with program.watch(store) as service:
    ...
    service.settle()
    assert program.differences(store) == {}
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.trees import Seen, walk

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
"""Seconds after which something that should have happened is a failure; nothing waits this long when all is well."""

COLUMNS = ("kind", "size", "mtime", "allocated", "links", "mode", "uid", "gid", "inode")
"""What the view `files` and a plain walk both know of a file."""


def unmeasured() -> dict[str, str]:
    """Return an environment for a process that is looked at from outside: this tree, and no coverage in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**environment, "PYTHONPATH": str(REPOSITORY)}


class Program:
    """`indexer`, run as `argv` in `environment` (on top of this process's own)."""

    def __init__(self, argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.argv = list(argv or (sys.executable, "-m", "indexer"))
        self.environment = {**os.environ, **({"PYTHONPATH": str(REPOSITORY)} if argv is None else {})}
        for inherited in ("INDEXER_STORE", "INDEXER_CONFIG", "XDG_STATE_HOME"):
            self.environment.pop(inherited, None)
        self.environment.update(environment or {})

    def run(self, *args: str | bytes | Path, exits: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command; any exit code but `exits` is a failure that shows what it printed."""
        done = subprocess.run(
            [*self.argv, *args],
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=PATIENCE * 10,
            env=self.environment,
        )
        shown = f"indexer {' '.join(map(os.fsdecode, args))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == exits, shown
        return done

    def json(self, *args: str | bytes | Path, exits: int = 0) -> Any:
        """Run one command with `--json` and return the document."""
        return json.loads(self.run(*args, "--json", exits=exits).stdout)

    def sql(self, store: Path, query: str) -> list[list[Any]]:
        """Return the rows of a query on the views of `store`."""
        rows: list[list[Any]] = self.json("-C", store, "sql", query, "--max-rows", str(10**9))["rows"]
        return rows

    def indexed(self, store: Path, columns: Sequence[str] = COLUMNS) -> dict[bytes, tuple[Any, ...]]:
        """Return what the index says: path relative to the store -> `columns` of the view `files`."""
        rows = self.sql(store, f"SELECT path, hex(path_bytes), {', '.join(columns)} FROM files")
        return {bytes.fromhex(exact) if exact else path.encode(): tuple(row) for path, exact, *row in rows}

    def differences(self, store: Path, columns: Sequence[str] = ("kind", "size", "mtime")) -> dict[bytes, Any]:
        """Return where the index and a plain walk disagree: path -> (index, walk), None for "no such file"."""
        found = {path: _columns(entry, columns) for path, entry in walk(store).items()}
        known = self.indexed(store, columns)
        return {
            path: (known.get(path), found.get(path))
            for path in sorted(found.keys() | known.keys())
            if known.get(path) != found.get(path)
        }

    def watch(self, store: Path, *args: str) -> Service:
        """Return the service for `store`, to be used as a context manager: ready inside, stopped and reaped after."""
        return Service(self, store, args)


def _columns(entry: Seen, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(entry, column) for column in columns)


class Service:
    """A running `indexer watch`."""

    def __init__(self, program: Program, store: Path, args: Sequence[str]) -> None:
        self.program = program
        self.store = store
        self._argv = [*program.argv, "watch", os.fspath(store), *args]
        self._ready = threading.Event()
        self.log: list[str] = []
        """Lines of its standard error so far."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env=self.program.environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE) or self.process.poll() is not None:
            self.__exit__(None, None, None)
            raise AssertionError(f"watch never became ready: exit {self.process.returncode}\n" + "".join(self.log))
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if line.strip() == "ready" or line.startswith("ready"):
                self._ready.set()
        self._ready.set()  # end of file: nobody should wait for a process that is gone

    def settle(self) -> float:
        """Wait until all that happened before the call is in the index; returns the seconds it took."""
        return float(self.program.json("settle", self.store, "--timeout", str(PATIENCE))["seconds"])

    def status(self) -> dict[str, Any]:
        """Return `status --json`, whatever the state."""
        done = subprocess.run(
            [*self.program.argv, "status", self.store, "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env=self.program.environment,
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code; a service that does not stop is killed and is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(PATIENCE)
        return code

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = self.stop()
        assert self.process.stderr is not None
        self.process.stderr.close()
        if error is None:
            assert code == 0, f"watch stopped with exit {code}\n" + "".join(self.log)


@contextmanager
def watching(store: Path, *args: str) -> Iterator[Service]:
    """`Program().watch(store)` for those who need nothing else of the program."""
    with Program().watch(store, *args) as service:
        yield service
