"""What lies below each directory, which a store with many directories keeps for its quotas per child."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from indexer.index import derived, subtrees
from indexer.index.database import connect_writer
from indexer.index.queries import Reader, Totals
from indexer.rules import Quota, Rule
from indexer.service.databases import _counters
from tests.index.rig import Rig, policy
from tests.trees import Node

RULES = (
    Rule("users", ("users/**",), ttl=1, quota=Quota(high=1, per="child")),
    Rule("rest", ("**",), exclude=("**/.keep",), ttl=1),
)
TREE: dict[str, Node] = {
    "users": {
        "ann": {"1": b"x" * 5000, "deep": {"er": {"2": b"22", "3": b""}}},
        "bob": {"work": {"4": b"4" * 9000}},
        "5": b"beside the children",
    },
    "other": {"eve": {"6": b"6"}},
}


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of directories is many."""
    monkeypatch.setattr(derived, "MANY", -1)


def kept(rig: Rig) -> bool:
    """Say whether the sums are there; those that are agree with the counters, and with the tree."""
    assert rig.wrong() == {}
    assert _counters(rig.index.connection) == []
    return derived.exists(rig.index.connection, derived.BELOW)


def children(rig: Rig) -> dict[bytes, Totals]:
    """Return what each child holds: by the sums as without them."""
    with Reader.open(rig.path) as reader, pytest.MonkeyPatch.context() as patch:
        found = reader.children_usage("users", b"users")
        patch.setattr(derived, "BELOW", "not_there")
        assert found == reader.children_usage("users", b"users")
    return found


def test_they_follow_every_change(tmp_path: Path) -> None:
    """Files that come, grow, shrink, go and are linked; directories that move anywhere, and those that are dropped."""
    with Rig(tmp_path, TREE, RULES) as rig:
        users = rig.root / "users"
        seen = [children(rig)]
        assert {path: (used.files, used.directories) for path, used in seen[0].items()} == {
            b"users/ann": (3, 2),
            b"users/bob": (1, 1),
        }

        def changed(*places: str) -> None:
            rig.changed(*places)
            assert kept(rig)
            seen.append(children(rig))
            assert seen[-1] != seen[-2]

        (users / "ann/deep/er/7").write_bytes(b"7" * 9000)
        changed("users/ann/deep/er/7")
        (users / "ann/deep/er/7").write_bytes(b"7")
        changed("users/ann/deep/er/7")
        os.link(users / "ann/1", users / "bob/work/1")
        changed("users/bob/work/1", "users/ann/1")
        (users / "ann/deep/er/7").unlink()
        changed("users/ann/deep/er/7")
        (users / "ann/deep").rename(users / "bob/deep")
        changed("users/ann/deep", "users/bob/deep")
        (users / "bob").rename(rig.root / "other/bob")
        changed("users/bob", "other/bob")
        (rig.root / "other/bob").rename(users / "cat")
        changed("other/bob", "users/cat")
        (rig.root / "other/eve").rename(users / "cat/deep/eve")
        changed("other/eve", "users/cat/deep/eve")
        (users / "cat/deep").rename(tmp_path / "gone")
        changed("users/cat/deep")


def test_a_move_and_changes_in_one_batch_count_once(tmp_path: Path) -> None:
    """What changed before a directory moved belongs to its old place, what changed after it to the new one."""
    with Rig(tmp_path, TREE, RULES) as rig:
        users = rig.root / "users"
        (users / "ann/deep/er/8").write_bytes(b"8" * 5000)
        (users / "ann/deep/er").rename(users / "bob/er")
        (users / "bob/er/9").write_bytes(b"9" * 5000)
        (users / "bob/er/2").unlink()
        rig.changed("users/ann/deep/er", "users/bob/er", "users/bob/er/8", "users/bob/er/9", "users/bob/er/2")
        assert kept(rig)
        assert {path: used.files for path, used in children(rig).items()} == {b"users/ann": 1, b"users/bob": 4}


def test_they_come_and_go_with_the_policy(tmp_path: Path) -> None:
    """Only quotas per child want them; a reclassification is followed; a restart keeps them."""
    with Rig(tmp_path, TREE, RULES[1:]) as rig:
        assert not kept(rig)
        rig.index.adopt(policy(*RULES))
        rig.rules = RULES
        rig.settle()
        assert kept(rig)
        assert sum(used.files for used in children(rig).values()) == 4
        rig.reopen()
        assert kept(rig)
        rig.index.adopt(policy(*RULES[1:]))
        rig.rules = RULES[1:]
        rig.settle()
        assert not kept(rig)


def test_a_run_that_removed_files_is_followed(tmp_path: Path) -> None:
    """Rows that a run drops by itself count as any other."""
    with Rig(tmp_path, TREE, RULES) as rig, Reader.open(rig.path) as reader:
        directory = reader.directory_id(b"users/ann/deep/er")
        assert directory is not None
        (rig.root / "users/ann/deep/er/2").unlink()
        rig.index.removed([(directory, b"2")])
        assert kept(rig)
        assert children(rig)[b"users/ann"].files == 2


def test_what_another_version_wrote_is_counted_again(tmp_path: Path) -> None:
    """One that knows nothing of these sums keeps the counters, and leaves the sums behind: the next start sees it."""
    with Rig(tmp_path, TREE, RULES) as rig:
        rig.close()
        other = connect_writer(rig.path)
        other.execute("DELETE FROM file WHERE name = '2'")
        other.close()
        (rig.root / "users/ann/deep/er/2").unlink()
        rig.open()
        assert kept(rig)
        assert children(rig)[b"users/ann"].files == 2


def test_a_transaction_that_fails_leaves_them_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what had risen already within it."""
    with Rig(tmp_path, TREE, RULES) as rig:
        before = children(rig)
        (rig.root / "users/ann/0").write_bytes(b"0")
        (rig.root / "users/ann/deep").rename(rig.root / "users/bob/deep")

        def fail(*_: Any) -> None:
            raise OSError(28, "no room")

        with monkeypatch.context() as patch:
            patch.setattr(rig.index._units, "finish", fail)
            with pytest.raises(OSError, match="no room"):
                rig.changed("users/ann/0", "users/ann/deep", "users/bob/deep")
        assert children(rig) == before
        rig.changed("users/ann/0", "users/ann/deep", "users/bob/deep")
        assert kept(rig)
        assert children(rig) != before


def test_a_ring_ends_them_until_the_next_start(tmp_path: Path) -> None:
    """Moves that were half seen: nothing is kept of what is no tree; what is asked is answered from the counters."""
    with Rig(tmp_path, TREE, RULES) as rig:
        users = rig.root / "users"
        (users / "bob").rename(users / "ann/bob")
        (users / "ann/bob").rename(users / "bob")
        (users / "ann").rename(users / "bob/ann")
        connection = rig.index.connection
        ann, bob = (rig.index.directories.at_path(b"users/" + name) for name in (b"ann", b"bob"))
        assert ann is not None
        assert bob is not None
        connection.execute("BEGIN")
        for inner, outer in ((ann, bob), (bob, ann)):
            handle = rig.index.directories.handle(inner)
            rig.index.directories.adopt(outer, "in", handle, 0, 1)
        assert not derived.exists(connection, derived.BELOW)
        connection.execute("ROLLBACK")
        rig.index._rollback()
        assert derived.exists(connection, derived.BELOW)
        rig.changed("users/ann", "users/bob/ann")
        assert kept(rig)


def test_a_tree_that_is_too_deep_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way up has a bound; what is asked is answered from the counters."""
    monkeypatch.setattr(subtrees, "DEEPEST", 5)
    with Rig(tmp_path, TREE, RULES) as rig:
        assert kept(rig)
        (rig.root / "users/ann/deep").rename(rig.root / "users/bob/work/deep")
        (rig.root / "users/bob/work/deep/er/2").write_bytes(b"2" * 5000)
        rig.changed("users/ann/deep", "users/bob/work/deep", "users/bob/work/deep/er/2")
        assert not kept(rig)
        with Reader.open(rig.path) as reader:
            assert reader.children_usage("users", b"users")[b"users/bob"].files == 3
        rig.verify()
        assert not kept(rig)
