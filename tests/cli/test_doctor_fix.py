"""`doctor --fix`: asks, shows, sets; and what doctor says of permissions and leases."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from indexer.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.program import Program


@pytest.fixture
def store(program: Program, tmp_path: Path) -> Path:
    """Return a store with one file of the wrong mode and a ledger that others can read."""
    root = tmp_path / "store"
    root.mkdir()
    program.run("init", str(root), "--profile", "empty")
    with (root / "indexer.toml").open("a") as stream:
        stream.write('\n[permissions]\nfile_mode = "0640"\n')
    (root / "a").write_text("a")
    (root / "a").chmod(0o666)
    (root / ".indexer" / "store.json").chmod(0o644)
    return root


def test_fix_shows_then_sets(program: Program, store: Path) -> None:
    """-n sets nothing, -y sets and says how much, without either there is nobody to ask."""

    def mode(name: str) -> int:
        return stat.S_IMODE((store / name).stat().st_mode)

    before = {check["name"]: check for check in program.json("doctor", str(store), exits=1)["checks"]}
    assert not before["permissions (file_mode)"]["ok"]
    assert before["permissions (file_mode)"]["detail"] == "0640: 1 file with another mode, such as a"
    assert not before["state files"]["ok"]
    assert before["in use (root)"]["ok"]
    dry = program.json("doctor", str(store), "--fix", "-n", exits=1)
    assert (dry["fixed"], mode("a")) == ({"dry_run": True, "entries": 1, "private": 1, "skipped": 0}, 0o666)
    assert program.run("doctor", str(store), "--fix", exits=2).stdout == ""
    done = program.json("doctor", str(store), "--fix", "-y", exits=1)  # the service is not running
    assert done["fixed"] == {"dry_run": False, "entries": 1, "private": 1, "skipped": 0}
    assert (mode("a"), mode(".indexer/store.json")) == (0o640, 0o600)
    after = {check["name"]: check["ok"] for check in done["checks"]}
    assert after["permissions (file_mode)"]
    assert after["state files"]


def test_every_problem_of_a_configuration_is_found(program: Program, store: Path) -> None:
    """A store that cannot be opened is what doctor is asked about: each problem with its key and its own remedy."""
    with (store / "indexer.toml").open("a") as stream:
        stream.write('\n[[class]]\nname = "a"\nmatch = ["a"]\nttl = "7"\nclok = ["mtime"]\n')
    checks = [check for check in program.json("doctor", str(store), exits=1)["checks"] if not check["ok"]]
    told = [(check["name"], check["detail"].removeprefix(f"{store}/indexer.toml: ")) for check in checks]
    assert told == [
        ("configuration", 'class[1] "a".clok: unknown key'),
        ("configuration", 'class[1] "a".ttl: "7" has no unit'),
    ]
    assert checks[0]["remedy"] == 'did you mean "clock"?'
    lines = program.run("doctor", str(store), exits=1).stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if "unknown key" in line)
    assert lines[place + 1].strip() == 'did you mean "clock"?'


def test_doctor_knows_the_process_that_serves_or_only_holds_the_lock(program: Program, store: Path) -> None:
    """A service that hangs holds its lock and does not answer: whose log to look at is its number."""

    def service() -> dict[str, str]:
        checks = program.json("doctor", str(store), exits=1)["checks"]
        found: dict[str, str] = next(check for check in checks if check["name"] == "service")
        return found

    assert service()["detail"] == "not running"
    with open_store(store).service_lock():
        assert service()["detail"] == f"process {os.getpid()} holds the service lock and does not answer"
    with program.watch(store) as running:
        running.settle()
        assert service()["detail"] == f"process {running.process.pid}, clean"
        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            assert service()["detail"] == f"process {running.process.pid} holds the service lock and does not answer"
            status = program.json("status", str(store), exits=1)
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
    assert (status["state"], status["reasons"], status["files"]) == ("degraded", ["not_answering"], 1)
    assert status["backend"]
    assert status["last_reconcile"] is not None
