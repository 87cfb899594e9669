"""Uses end to end: read-only closes on a `noatime` mount, and programs whose reading is none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.capabilities import needs
from tests.program import Program
from tests.reading import Reading
from tests.waiting import until

pytestmark = needs("CAP_SYS_ADMIN", "fs:tmpfs")
Mount = Callable[..., Path]
OLD = 1_600_000_000

POLICY = """
[store]
mode = "enforce"
access_resolution = "1s"
ignore_readers = ["restic"]

[guards]
min_files = 100

[[class]]
name = "cache"
match = ["cache/**"]
ttl = "7d"
clock = ["atime"]
arrival_floor = false
min_age = "0s"
"""


def old_files(store: Path, *names: str) -> None:
    """Make files that were last used long ago."""
    (store / "cache").mkdir(parents=True)
    for name in names:
        (store / "cache" / name).write_bytes(b"line\n")
        os.utime(store / "cache" / name, (OLD, OLD))


def next_second() -> None:
    """Times are compared by the second, files have theirs from a clock that is some milliseconds behind."""
    begun = int(time.time())
    until(lambda: time.time() > begun + 1.05)


def used(program: Program, store: Path) -> dict[str, bool]:
    """Return whether each file counts as used since it was made."""
    return {name: at > OLD for name, at in program.sql(store, "SELECT name, used_at FROM files WHERE class = 'cache'")}


def test_reads_are_seen_where_the_filesystem_notes_none(program: Program, mount: Mount) -> None:
    """`noatime`: what is read counts as used, and our own looks at it do not."""
    store = mount("tmpfs", options="noatime") / "store"
    old_files(store, "read", "left")
    (store / "indexer.toml").write_text(POLICY)
    with program.watch(store) as service, Reading(store, "somebody") as somebody:
        service.settle()
        program.run("scan", store)
        program.run("-C", store, "report", "drift")
        somebody.read("cache/read")
        service.settle()
        assert used(program, store) == {"read": True, "left": False}
        assert (store / "cache" / "read").stat().st_atime == OLD


def test_ignored_readers_keep_nothing_alive(program: Program, mount: Mount) -> None:
    """A backup moves st_atime of all it reads: neither that nor its closes count, now, later, nor when files go."""
    store = mount("tmpfs", options="strictatime") / "store"
    old_files(store, "backed-up", "read", "away", "touched")
    (store / "indexer.toml").write_text(POLICY)
    with Reading(store, "restic") as restic, Reading(store, "somebody") as somebody:
        with program.watch(store) as service:
            service.settle()
            next_second()
            for name in ("backed-up", "read", "touched"):
                restic.read(f"cache/{name}")
            somebody.read("cache/read")
            os.utime(store / "cache" / "touched", (time.time(), OLD))
            service.settle()
            expected = {"backed-up": False, "read": True, "away": False, "touched": True}
            assert used(program, store) == expected
            assert (store / "cache" / "backed-up").stat().st_atime > OLD
            program.run("scan", store)  # every file is stat'ed
            assert used(program, store) == expected
            # Commands read the configuration, and have ended when they are looked up: unknown_readers says nothing.
            assert service.status()["ignored_reads"] == 3
        next_second()
        restic.read("cache/away")  # nobody listens: it may have been anybody
    with program.watch(store) as service:
        service.settle()
        assert used(program, store) == {**expected, "away": True}
        result = program.json("-C", store, "cleanup", "-y")
        assert (result["files_removed"], result["kept"], result["errors"]) == (1, {}, [])
        service.settle()
        assert set(used(program, store)) == {"read", "away", "touched"}


def test_doctor_says_where_readers_cannot_be_told(program: Program, mount: Mount) -> None:
    """By inotify no process is told: the setting then does nothing, and that is said."""
    store = mount("tmpfs") / "store"
    old_files(store, "a")
    (store / "indexer.toml").write_text(POLICY.replace("[store]", '[store]\nbackend = "inotify"'))
    program.run("scan", store)
    checks = {check["name"]: check for check in program.json("-C", store, "doctor", exits=1)["checks"]}
    assert checks["ignore_readers"]["ok"] is False
    assert "fanotify" in checks["ignore_readers"]["remedy"]
