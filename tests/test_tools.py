"""The tests' own tools: an oracle that is wrong proves nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import mounts
from tests.trees import HOSTILE, Fifo, File, HardLink, Symlink, directories, hostile_names, make, walk

NAMES_FOR_A_DEEP_TREE = 5_000


def test_a_declared_tree_is_read_back_as_declared(tmp_path: Path) -> None:
    """Every kind of node comes back with its kind, size and time."""
    make(
        tmp_path,
        {
            "uploads": {"a.mp4": b"film", "old.mp4": File(size=5, mtime=1_000_000_000.75)},
            "link": Symlink("nowhere"),
            "second": HardLink("uploads/a.mp4"),
            "pipe": Fifo(),
            "empty": {},
        },
    )
    seen = walk(tmp_path)
    assert {path: (entry.kind, entry.size, entry.links) for path, entry in seen.items()} == {
        b"uploads/a.mp4": ("file", 4, 2),
        b"uploads/old.mp4": ("file", 5, 1),
        b"link": ("symlink", 7, 1),
        b"second": ("file", 4, 2),
        b"pipe": ("other", 0, 1),
    }
    assert seen[b"uploads/old.mp4"].mtime == 1_000_000_000
    assert directories(tmp_path) == {b"uploads", b"empty"}


def test_the_walk_leaves_out_the_stores_own_files_at_the_root_only(tmp_path: Path) -> None:
    """`.indexer` and `indexer.toml` are exempt at the root; elsewhere they are ordinary."""
    make(tmp_path, {".indexer": {"x": b""}, "indexer.toml": b"", "sub": {".indexer": {"y": b""}, "indexer.toml": b""}})
    assert set(walk(tmp_path)) == {b"sub/.indexer/y", b"sub/indexer.toml"}


def test_the_walk_goes_deeper_than_a_path_can_say(tmp_path: Path) -> None:
    """5,000 nested directories, far beyond PATH_MAX and the limit of open files, are walked to the bottom."""
    subprocess.run(
        ["perl", "-e", f'for (1..{NAMES_FOR_A_DEEP_TREE}) {{ mkdir "d"; chdir "d" or die }} open F, ">bottom"'],
        cwd=tmp_path,
        check=True,
    )
    try:
        assert list(walk(tmp_path)) == [b"d/" * NAMES_FOR_A_DEEP_TREE + b"bottom"]
    finally:
        subprocess.run(["rm", "-rf", os.fspath(tmp_path / "d")], check=True)


def test_hostile_names_are_legal_different_and_the_same_for_a_seed(tmp_path: Path) -> None:
    """All of them can be created side by side, and the known trouble makers are among them."""
    names = hostile_names(seed=1, count=200)
    assert names == hostile_names(seed=1, count=200)
    assert set(HOSTILE) <= set(names)
    make(tmp_path, dict.fromkeys(names, b""))
    assert set(walk(tmp_path)) == set(names)


@pytest.mark.parametrize("kind", mounts.KINDS)
def test_a_filesystem_of_the_tests_own_is_there_and_not_entered_from_outside(
    mount: Callable[..., Path], kind: str
) -> None:
    """Each kind can be mounted and written, and a walk from above stops at it unless told to enter."""
    place = mount(kind)
    make(place, {"inside": b"x"})
    above = place.parent
    name = os.fsencode(place.name)
    assert b"inside" in walk(place)
    assert name + b"/inside" not in walk(above)
    assert name + b"/inside" in walk(above, enter=[name])


def test_another_user_has_no_privilege(
    as_user: Callable[..., subprocess.CompletedProcess[str]], public_tmp: Path
) -> None:
    """`as_user` really drops everything: a private file of ours cannot be read."""
    make(public_tmp, {"private": File(b"secret", mode=0o600)})
    refused = as_user(65534, ["cat", os.fspath(public_tmp / "private")])
    assert (refused.returncode, refused.stdout) == (1, "")
