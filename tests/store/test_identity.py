"""Which tree this is: the marker, and what happens when another directory stands in the store's place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import FilesystemError, NoStoreError
from indexer.store import RootChangedError, RootMissingError, Store, initialise_store, open_store
from indexer.syscalls.fsuuid import filesystem_uuid
from tests.capabilities import needs


def test_the_root_is_opened_as_itself(store: Store) -> None:
    """The descriptor is that of the root, and of nothing else."""
    fd = store.open_root()
    try:
        assert os.path.samestat(os.fstat(fd), os.stat(store.root))
    finally:
        os.close(fd)


def test_a_store_may_be_renamed(store: Store) -> None:
    """Its path proves nothing, in either direction."""
    moved = store.root.rename(store.root.with_name("moved"))
    assert open_store(moved).id == store.id


def test_a_missing_root_is_said_to_be_missing(store: Store) -> None:
    """Not "empty", and not "no store": nothing may be concluded from it."""
    store.root.rename(store.root.with_name("moved"))
    with pytest.raises(RootMissingError) as refused:
        store.open_root()
    assert refused.value.code == "root_missing"
    with pytest.raises(RootMissingError):
        open_store(store.root)


def test_an_empty_mount_point_is_not_the_store(store: Store) -> None:
    """The filesystem is not mounted: the directory is there, the marker is not."""
    store.root.rename(store.root.with_name("moved"))
    store.root.mkdir()
    with pytest.raises(RootChangedError) as refused:
        store.open_root()
    assert "mounted" in refused.value.remedy
    with pytest.raises(NoStoreError):
        open_store(store.root)


def test_another_store_is_not_the_store(store: Store) -> None:
    """Swapped while a service ran: its marker has another id."""
    other = store.root.with_name("other")
    other.mkdir()
    second = initialise_store(other, index_only=True)
    store.root.rename(store.root.with_name("moved"))
    other.rename(store.root)
    with pytest.raises(RootChangedError, match=second.id):
        store.open_root()


def test_a_copy_is_not_the_store_until_it_is_adopted(store: Store) -> None:
    """Copied or restored with its control directory: refused, with the command that takes it over."""
    store.index_path.write_bytes(b"handles of the original")
    store.ledger_path.write_bytes(b"what was removed")
    copy = store.root.with_name("copy")
    shutil.copytree(store.root, copy)
    with pytest.raises(RootChangedError) as refused:
        open_store(copy)
    assert f"indexer init --adopt {copy}" in refused.value.remedy
    assert open_store(copy, verify=False).id == store.id
    adopted = initialise_store(copy, adopt=True)
    assert adopted.id != store.id
    assert adopted.marker.adopted_from == store.id
    assert adopted.marker.created == store.marker.created
    assert not adopted.index_path.exists()
    assert adopted.ledger_path.read_bytes() == b"what was removed"
    assert open_store(copy).id == adopted.id
    assert open_store(store.root).id == store.id


def test_adopting_the_original_changes_nothing(store: Store) -> None:
    """It is the tree it says it is."""
    store.index_path.write_bytes(b"index")
    assert initialise_store(store.root, adopt=True).id == store.id
    assert store.index_path.exists()


@needs("CAP_SYS_ADMIN")
def test_the_same_inode_on_another_filesystem_is_not_the_store(mount: Callable[..., Path]) -> None:
    """The uppermost directory of every ext4 is inode 2, so the filesystem itself must agree too."""
    first, second = mount("ext4"), mount("ext4")
    store = initialise_store(first, index_only=True)
    shutil.copytree(store.control, second / ".indexer")
    assert os.stat(first).st_ino == os.stat(second).st_ino
    with pytest.raises(RootChangedError, match="another filesystem"):
        open_store(second)
    assert open_store(first).id == store.id


def test_without_uuids_the_fsid_decides(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 6.9, and filesystems made without a UUID."""
    monkeypatch.setattr("indexer.store.identity.filesystem_uuid", lambda _fd: "")
    assert open_store(store.root).id == store.id
    marker = json.loads((store.control / "store.json").read_text())
    (store.control / "store.json").write_text(json.dumps({**marker, "fsid": "0123456789abcdef"}))
    with pytest.raises(RootChangedError, match="another device"):
        open_store(store.root)


def test_a_filesystem_without_a_uuid_says_so() -> None:
    """Procfs has none."""
    fd = os.open("/proc", os.O_RDONLY)
    try:
        assert filesystem_uuid(fd) == ""
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"version": 1}', "is damaged"),
        ("WHOLE", "newer version"),
    ],
)
def test_a_damaged_or_newer_marker_is_said_to_be_so(store: Store, content: str, said: str) -> None:
    """With a remedy, and no traceback."""
    marker = json.loads((store.control / "store.json").read_text())
    whole = json.dumps({**marker, "version": 2, "new": "field"})
    (store.control / "store.json").write_text(content.replace("WHOLE", whole))
    with pytest.raises(FilesystemError, match=said) as refused:
        open_store(store.root)
    assert refused.value.remedy


@needs("CAP_SYS_ADMIN")
def test_the_trash_of_a_named_filesystem_is_adopted_too(mount: Callable[..., Path]) -> None:
    """It is called by the store's id as well."""
    other = mount("tmpfs")
    root = other.parent
    (root / "indexer.toml").write_text(f'[store]\nfilesystems = ["{other.name}"]\n')
    store = initialise_store(root)
    with store.run_lock():
        trash = store.trash_path(other.name)
        trash.mkdir(mode=0o700)
    (trash / "one").write_bytes(b"only copy")
    marker = json.loads((store.control / "store.json").read_text())
    (store.control / "store.json").write_text(json.dumps({**marker, "root_inode": 1}))
    adopted = initialise_store(root, adopt=True)
    assert adopted.id != store.id
    assert (adopted.trash_path(other.name) / "one").read_bytes() == b"only copy"
    assert not trash.parent.exists()
