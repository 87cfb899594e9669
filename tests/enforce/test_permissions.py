"""`[permissions]`: what differs is found, and set only on what was looked at: no link leads anywhere else."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from indexer.config.model import PermissionsConfig
from indexer.enforce import permissions
from indexer.enforce.permissions import Survey, Wanted, examine
from indexer.enforce.places import Places
from indexer.enforce.private import exposed
from tests.capabilities import needs
from tests.enforce.arena import Arena

if TYPE_CHECKING:
    from pathlib import Path

WANTED = Wanted(0o2750, 0o640, None, None)


def survey(arena: Arena, wanted: Wanted = WANTED, *, mend: bool = False) -> Survey:
    """Walk the arena."""
    with Places(arena.root_fd, arena.store) as places:
        return examine(places, wanted, mend=mend)


def mode(path: Path) -> int:
    """Return the permission bits, with setgid."""
    return stat.S_IMODE(path.stat().st_mode)


def test_what_differs_is_counted_and_set(arena: Arena) -> None:
    """Modes of both kinds, setgid included; contents come before directories; a second look finds nothing."""
    arena.write("uploads/job/a")
    arena.write("uploads/job/b")
    (arena.root / "uploads/job/b").chmod(0o640)
    control = mode(arena.root / ".indexer")
    found = survey(arena)
    assert (found.count("dir_mode"), found.count("file_mode"), found.differing, found.entries) == (3, 1, 4, 5)
    assert found.findings["file_mode"].examples == [b"uploads/job/a"]
    assert survey(arena, mend=True).changed == 4
    assert (survey(arena).differing, mode(arena.root / "uploads/job"), mode(arena.root / "uploads/job/a")) == (
        0, 0o2750, 0o640,
    )  # fmt: skip
    assert mode(arena.root / ".indexer") == control


@needs("CAP_CHOWN")
def test_owner_and_group(arena: Arena) -> None:
    """Both are set, then the mode, of files and directories."""
    path = arena.root / os.fsdecode(arena.write("uploads/a"))
    assert survey(arena, Wanted(0o2750, 0o755, 1234, 4321), mend=True).errors == []
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 4321, 0o755)
    assert ((arena.root / "uploads").stat().st_gid, mode(arena.root / "uploads")) == (4321, 0o2750)


@needs("CAP_CHOWN")
@pytest.mark.parametrize(
    "wanted", [Wanted(None, None, 0, None), Wanted(None, None, None, 0), Wanted(None, 0o4755, 0, 0)]
)
def test_a_program_that_changes_hands_runs_as_nobody_else(arena: Arena, wanted: Wanted) -> None:
    """A stranger's setuid and setgid program is not one of its new owner's or group's."""
    path = arena.root / os.fsdecode(arena.write("uploads/x"))
    os.chown(path, 1000, 1000)
    path.chmod(0o6755)
    assert survey(arena, wanted, mend=True).errors == []
    assert mode(path) == 0o755
    folder = arena.root / "uploads"
    folder.chmod(0o2755)
    os.chown(folder, 1000, 1000)
    survey(arena, wanted, mend=True)
    assert mode(folder) == 0o2755


def test_links_lead_nowhere(arena: Arena, tmp_path: Path) -> None:
    """Neither a symlink's target nor a file with a name elsewhere is changed; the latter is named."""
    outside = tmp_path / "shadow"
    outside.write_text("secret")
    outside.chmod(0o600)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    arena.write("uploads/a")
    (arena.root / "uploads/symlink").symlink_to(outside)
    (arena.root / "uploads/directory").symlink_to(folder)
    os.link(outside, arena.root / "uploads/hard")
    os.mkfifo(arena.root / "uploads/fifo", 0o600)
    found = survey(arena, mend=True)
    assert (mode(outside), mode(folder), mode(arena.root / "uploads/fifo")) == (0o600, 0o700, 0o600)
    assert found.findings["hard_link"].examples == [b"uploads/hard"]


@pytest.mark.parametrize("kind", ["symlink", "hard link", "other file"])
def test_an_exchange_after_the_look(arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever takes the name between look and change stays as it is: the object that was looked at is changed."""
    outside = tmp_path / "shadow"
    outside.write_text("secret")
    outside.chmod(0o600)
    path = arena.root / os.fsdecode(arena.write("uploads/a"))
    whole = permissions._set

    def exchanged(*arguments: object) -> None:
        if path.exists() and not (arena.root / "moved").exists():
            path.rename(arena.root / "moved")
            if kind == "symlink":
                path.symlink_to(outside)
            elif kind == "hard link":
                os.link(outside, path)
            else:
                outside.rename(path)
        whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(permissions, "_set", exchanged)
    survey(arena, mend=True)
    assert mode(arena.root / "moved") == 0o640
    assert mode(path if kind == "other file" else outside) == 0o600


@needs("setfacl")
def test_access_control_lists_are_named_and_left(arena: Arena) -> None:
    """Where an ACL speaks, the mode does not tell all: counted, for files and for defaults of directories."""
    path = arena.root / os.fsdecode(arena.write("uploads/a"))
    subprocess.run(["setfacl", "-m", "u:1234:rw", path], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx", path.parent], check=True)
    assert survey(arena).findings["acl"].examples == [b"uploads/a", b"uploads"]


def test_unknown_names_are_refused(arena: Arena) -> None:
    """A user or group that this machine does not know is a finding, not a crash."""
    with pytest.raises(LookupError):
        Wanted.of(PermissionsConfig(owner="nobody-of-that-name"))
    assert Wanted.of(PermissionsConfig(owner="root", group="root")) == Wanted(None, None, 0, 0)
    assert dataclasses.astuple(Wanted.of(PermissionsConfig())) == (None,) * 4
    assert survey(arena, Wanted(None, None, None, None)).differing == 0


def test_state_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Control directory, ledger, trash and locks are 0700 and 0600 under umask 0; what others can reach is closed."""
    before = os.umask(0)
    try:
        arena = Arena(tmp_path / "store", ballast=True)
        arena.run(arena.plan(arena.write("uploads/a")))
    finally:
        os.umask(before)
    (tmp_path / "store").chmod(0o755)
    assert list(exposed(arena.store)) == []
    (arena.root / ".indexer/ledger.db").chmod(0o644)
    (arena.root / ".indexer/trash").chmod(0o755)
    assert [(one.path.name, one.mode) for one in exposed(arena.store)] == [
        ("ledger.db", 0o644), ("trash", 0o755),
    ]  # fmt: skip
    assert list(exposed(arena.store, mend=True))
    assert list(exposed(arena.store)) == []
    arena.close()
