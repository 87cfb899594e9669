"""`system-trash`: a real XDG trash where there is a session, a clear refusal where there is none."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import hooks, system_trash
from tests.enforce.arena import Arena, Staged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the trash of a desktop session with a home on the store's filesystem."""
    sender = pytest.importorskip("send2trash", reason="needs send2trash").send2trash
    home = tmp_path / "share"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "test")
    module = importlib.import_module(sender.__module__)
    for name, value in (("XDG_DATA_HOME", home), ("HOMETRASH", home / "Trash"), ("HOMETRASH_B", home / "Trash")):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, os.fsencode(value) if name.endswith("_B") else str(value))
    return home / "Trash"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a server."""
    for name in system_trash.SESSION:
        monkeypatch.delenv(name, raising=False)


def test_a_desktop_gets_the_file(arena: Arena, desktop: Path) -> None:
    """The file lies in the desktop's trash under its own name with where it came from, and the ledger says so."""
    path = arena.write("uploads/a b", b"film")
    result = arena.run(arena.plan(path, action="system-trash"))
    assert (result.files_removed, result.bytes_trashed, result.bytes_freed, result.errors) == (1, 4096, 0, ())
    assert (desktop / "files/a b").read_bytes() == b"film"
    assert f"{arena.root}/uploads/a%20b" in (desktop / "info/a b.trashinfo").read_text()
    assert arena.outcomes(result.run) == {path: ("sent", None)}
    assert arena.removed == [(1, b"a b")]
    assert [error for _, error in arena.restore([path]).errors] == ["nothing in the trash under this path"]


def test_in_use_stays(arena: Arena, desktop: Path) -> None:
    """The lease is asked for here as well."""
    path = arena.write("uploads/a")
    with open(arena.root / "uploads/a", "rb"):
        assert arena.run(arena.plan(path, action="system-trash")).kept == {"in_use": 1}
    assert not desktop.exists()


def test_another_file_in_the_last_moment(arena: Arena, desktop: Path, stage: Callable[..., Staged]) -> None:
    """What took the name lies in the desktop's trash, whole and named; the file that was meant is where it was put."""
    path = arena.write("uploads/a", b"A")
    plan = arena.plan(path, action="system-trash")

    def exchange(_: bytes) -> None:
        (arena.root / "uploads/a").rename(arena.root / "uploads/elsewhere")
        (arena.root / "uploads/a").write_bytes(b"other")

    stage("send.before", exchange)
    result = arena.run(plan)
    assert (result.files_removed, result.kept) == (0, {"replaced": 1})
    assert (desktop / "files/a").read_bytes() == b"other"
    assert (arena.root / "uploads/elsewhere").read_bytes() == b"A"
    assert "send.before" in hooks.WINDOWS


@pytest.mark.usefixtures("nowhere")
def test_a_server_is_refused_clearly(arena: Arena) -> None:
    """Every file stays, the class is named once with the remedy, and other classes go on."""
    paths = [arena.write("uploads/a"), arena.write("uploads/b")]
    plan = arena.plan(*paths, action="system-trash")
    result = arena.run(plan)
    assert (result.kept, result.exit_code) == ({"unavailable": 2}, 1)
    assert [(path, "no desktop session" in error) for path, error in result.errors] == [(b"", True)]
    assert arena.tree() == set(paths)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy says what to install."""
    monkeypatch.setenv("DISPLAY", ":0")

    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert "storage-indexer[desktop]" in (system_trash.missing() or "")
