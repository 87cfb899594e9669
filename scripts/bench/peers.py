"""Watchers side by side: each started on a tree, asked what it has seen of a storm, and stopped.

    python -m scripts.bench.peers NAME ROOT

runs one of those in Python: prints `ready`; on a line of standard input prints how many files it has seen created, as
JSON, and ends.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.harness import REPOSITORY, cpu_of
from tests.capabilities import missing
from tests.program import Program, Service

PATIENCE = 120.0
OBSERVERS = {
    "watchdog": ("watchdog.observers.inotify", "InotifyObserver", False),
    "watchdog, event_filter": ("watchdog.observers.inotify", "InotifyObserver", True),
    "FanotifyObserver": ("indexer.watch", "FanotifyObserver", False),
    "FanotifyObserver, event_filter": ("indexer.watch", "FanotifyObserver", True),
    "InotifyObserver (ours)": ("indexer.watch", "InotifyObserver", False),
    "InotifyObserver (ours), event_filter": ("indexer.watch", "InotifyObserver", True),
}
"""Name -> module, class, whether only creations and closes are asked for; the handler counts."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A watcher that is ready."""

    pid: int
    ready: float
    """Seconds from its start."""
    seen: Callable[[], int]
    """Ask how many files it has seen created, once it has nothing more to do."""

    def memory(self) -> int:
        """Return the bytes it has in memory now."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8", errors="replace") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))

    def idle(self) -> float:
        """Return its processor seconds once it has used none for half a second, or after the patience is over."""
        deadline, used = time.monotonic() + PATIENCE, -1.0
        while time.monotonic() < deadline and used != (now := cpu_of(self.pid)):
            used = now
            time.sleep(0.5)
        return used


def absent(name: str) -> str | None:
    """Say what is missing for a peer, None when nothing is."""
    if name.startswith("FanotifyObserver") or name == "indexer, fanotify":
        return missing("CAP_SYS_ADMIN")
    if name == "watchfiles":
        return None if importlib.util.find_spec("watchfiles") else "needs watchfiles"
    if name in {"inotifywait", "watchman"}:
        return missing(name)
    return None


@contextmanager
def peer(name: str, root: Path) -> Iterator[Peer]:
    """Start a peer on `root` and wait until it is ready."""
    started = time.perf_counter()
    if name.startswith("indexer, "):
        program = Program()
        with program.watch(root, "--backend", name.removeprefix("indexer, ")) as service:
            yield Peer(service.process.pid, time.perf_counter() - started, lambda: _indexed(program, service, root))
    elif name == "inotifywait":
        yield from _inotifywait(root, started)
    elif name == "watchman":
        yield from _watchman(root, started)
    else:
        yield from _in_python(name, root, started)


def _indexed(program: Program, service: Service, root: Path) -> int:
    service.settle()
    return int(program.json("status", root)["files"])


def _in_python(name: str, root: Path, started: float) -> Iterator[Peer]:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.peers", name, root],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = process.stdout
    questions = process.stdin
    assert answers.readline() == "ready\n"

    def seen() -> int:
        questions.write("report\n")
        questions.flush()
        return int(json.loads(answers.readline())["created"])

    try:
        yield Peer(process.pid, time.perf_counter() - started, seen)
    finally:
        questions.close()
        answers.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()  # watchdog can be busy with nothing for ever after an overflow
            process.wait()


def _inotifywait(root: Path, started: float) -> Iterator[Peer]:
    command: list[str | Path] = ["inotifywait", "-m", "-r", "-e", "create", "-e", "close_write", "--format", "%e", root]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    lines = process.stdout
    counted = [0]

    def count() -> None:
        for line in lines:
            counted[0] += line.startswith("CREATE") and "ISDIR" not in line

    reader = threading.Thread(target=count)
    reader.start()
    try:
        while "established" not in process.stderr.readline():
            assert process.poll() is None
        yield Peer(process.pid, time.perf_counter() - started, lambda: counted[0])
    finally:
        process.terminate()
        process.wait()
        reader.join()
        lines.close()
        process.stderr.close()


def _watchman(root: Path, started: float) -> Iterator[Peer]:
    place = root.parent / "watchman"
    place.mkdir(mode=0o700, exist_ok=True)
    options: list[str | Path] = ["--unix-listener-path" if _modern() else "--sockname", place / "sock"]
    files: list[str | Path] = ["--statefile", place / "state", "--logfile", place / "log"]
    server = subprocess.Popen(
        ["watchman", *options, *files, "--foreground"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(*question: Any) -> Any:
        command = ["watchman", *options, "--no-spawn", "-j"]
        text = json.dumps(question)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    try:
        deadline = time.monotonic() + PATIENCE
        while ask("watch", str(root)) is None:
            assert time.monotonic() < deadline, "watchman did not start"
            time.sleep(0.01)
        ask("clock", str(root))  # answers once its crawl is done
        yield Peer(
            server.pid,
            time.perf_counter() - started,
            lambda: len(ask("query", str(root), {"expression": ["type", "f"], "fields": ["name"]})["files"]),
        )
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(place)


def _modern() -> bool:
    told = subprocess.run(["watchman", "--help"], capture_output=True, text=True, check=False)
    return "--unix-listener-path" in told.stdout + told.stderr


# In the peer's own process


def main() -> None:
    """Run one of the peers in Python."""
    name, root = sys.argv[1:]
    if name == "watchfiles":
        _watchfiles(root)
    else:
        _observer(*OBSERVERS[name], root)


def _observer(module: str, kind: str, filtered: bool, root: str) -> None:  # noqa: FBT001 - a row of a table
    from watchdog.events import FileClosedEvent, FileCreatedEvent, FileSystemEvent, FileSystemEventHandler

    class Count(FileSystemEventHandler):
        """Counts, so that a loss can be told; an empty handler could not."""

        created = 0

        def on_created(self, event: FileSystemEvent) -> None:
            """One more file."""
            self.created += not event.is_directory

    handler = Count()
    observer = getattr(importlib.import_module(module), kind)()
    chosen = [FileCreatedEvent, FileClosedEvent] if filtered else None
    observer.schedule(handler, root, recursive=True, event_filter=chosen)
    observer.start()
    _answer(lambda: handler.created)
    observer.stop()
    observer.join(10)


def _watchfiles(root: str) -> None:
    notifier: Any = importlib.import_module("watchfiles._rust_notify").RustNotify
    added: set[str] = set()
    stopping = threading.Event()
    with notifier([root], False, False, 300, True, True) as notify:

        def collect() -> None:
            while not stopping.is_set():
                changes = notify.watch(50, 10, 500, stopping)
                if isinstance(changes, set):
                    added.update(path for kind, path in changes if kind == 1)

        reader = threading.Thread(target=collect)
        reader.start()
        _answer(lambda: sum(os.path.isfile(path) for path in added))
        stopping.set()
        reader.join()


def _answer(created: Callable[[], int]) -> None:
    print("ready", flush=True)
    if sys.stdin.readline():
        print(json.dumps({"created": created()}), flush=True)


if __name__ == "__main__":
    main()
