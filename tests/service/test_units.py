"""The systemd units: what they say, that systemd understands them, and the watchdog they turn on."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.cli import hosting
from indexer.cli.hosting import Host
from indexer.cli.member import Opening
from indexer.service.daemon import Service
from indexer.service.sd_notify import watchdog_seconds
from indexer.service.units import CAPABILITIES, quoted, unit_files, unit_name
from indexer.store import Store
from tests.capabilities import needs
from tests.program import PATIENCE, Program
from tests.service.scheduled import scheduled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with a name that needs quotes."""
    return scheduled(tmp_path / 'a "store" 100% $HOME', 'cleanup = "every day at 02:00"', scan=False)


@needs("systemd-analyze")
@pytest.mark.parametrize("user", [None, "daemon"])
def test_systemd_understands_the_units(store: Store, tmp_path: Path, user: str | None) -> None:
    """`systemd-analyze verify` has nothing to say, whatever the path is called."""
    folder = tmp_path / "units"
    folder.mkdir()
    units = unit_files(store, [sys.executable, "-m", "indexer"], user=user)
    for name, text in units.items():
        (folder / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(folder.iterdir())],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    ours = [line for line in done.stderr.splitlines() if "indexer-" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_name_is_systemds_own() -> None:
    """As `systemd-escape --path` says it."""
    assert unit_name(SimpleNamespace(root_bytes=b"/srv/media/My-Files")) == r"indexer-srv-media-My\x2dFiles"  # type: ignore[arg-type]
    assert quoted('a "b" 5% $x') == '"a \\"b\\" 5%% $$x"'


def test_privileges_are_what_is_documented(store: Store) -> None:
    """Root keeps the documented capabilities, another user none; the tree is what may be written."""
    service = next(iter(unit_files(store, ["indexer"]).values()))
    assert f"CapabilityBoundingSet={' '.join(CAPABILITIES)}\n" in service
    for line in ("Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "WatchdogSec=120s"):
        assert f"\n{line}\n" in service
    assert service.count("ReadWritePaths=") == 1
    lesser = next(iter(unit_files(store, ["indexer"], user="media").values()))
    assert "User=media\n" in lesser
    assert "CapabilityBoundingSet=\n" in lesser


def test_install_show_uninstall(program: Program, store: Store, tmp_path: Path) -> None:
    """Written as shown; an edited unit is kept; all gone after."""
    place = tmp_path / "system"
    place.mkdir()
    shown = program.json("service", "show", store.root)["units"]
    program.run("service", "install", store.root, "--unit-dir", place)
    assert {path.name: path.read_text() for path in place.iterdir()} == shown
    program.run("service", "install", store.root, "--unit-dir", place)
    edited = place / min(shown)
    edited.write_text("mine")
    assert "says something else" in program.run("service", "install", store.root, "--unit-dir", place, exits=2).stderr
    assert edited.read_text() == "mine"
    program.run("service", "install", store.root, "--unit-dir", place, "--force")
    program.run("service", "uninstall", store.root, "--unit-dir", place)
    assert list(place.iterdir()) == []


def test_the_watchdog_hears_of_a_service_that_is_well(program: Program, store: Store, tmp_path: Path) -> None:
    """READY=1, then WATCHDOG=1 again and again, over a real socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        program.environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with program.watch(store.root):
            heard = [manager.recv(100) for _ in range(4)]
    assert set(heard) == {b"READY=1", b"WATCHDOG=1"}
    assert heard.count(b"WATCHDOG=1") == 3


def test_the_watchdog_hears_nothing_from_a_deaf_or_hanging_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then systemd restarts it; a full disk or a refusing guard is no reason to."""
    told: list[str] = []
    monkeypatch.setattr(hosting, "tell_manager", told.append)
    monkeypatch.setattr(hosting, "watchdog_seconds", lambda: 10.0)
    service = Service(lambda: pytest.fail("not run"))
    host = Host([Opening("it", lambda: pytest.fail("not opened"))], lambda: None)
    host._members[0].service = service
    for now, reason, heard in ((0, "disk_full", 1), (4, "", 1), (5, "guard_refused", 2), (10, "canary_failed", 2)):
        if reason:
            service.board.degrade(reason, "…")
        host._live(now)
        assert len(told) == heard, reason
    service.board.recover("canary_failed")
    service.beat -= 61
    host._live(30)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_what_the_manager_asks_for(environment: dict[str, str], seconds: float | None) -> None:
    """sd_watchdog_enabled(3)."""
    assert watchdog_seconds(environment) == seconds
