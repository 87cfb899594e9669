"""Hard links: every name has a row, one of them is charged, and all agree whichever name an event comes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.events import ACCESSED
from tests.index.rig import Rig
from tests.mounts import bind, unmount
from tests.trees import HardLink, Node

THREE: dict[str, Node] = {
    "a": b"x" * 5000,
    "d": {"b": HardLink("a")},
    "e": {"c": HardLink("a"), "other": b"1" * 9000},
}


def charged(rig: Rig) -> list[str]:
    """Return the names that are charged and have company."""
    found = rig.index.connection.execute("SELECT name FROM file WHERE charged AND links > 1")
    return [row[0] for row in found]


def test_a_first_scan_charges_each_inode_once(tmp_path: Path) -> None:
    """`bytes` counts every name, `allocated` every inode."""
    with Rig(tmp_path, THREE) as rig:
        assert rig.wrong() == {}
        assert charged(rig) == ["a"]


def test_a_store_without_links_has_no_index_on_inode(tmp_path: Path) -> None:
    """27 bytes a file that nobody needs are spared until the first link."""
    with Rig(tmp_path, {"a": b"1", "d": {}}) as rig:
        count = "SELECT count(*) FROM sqlite_master WHERE name = 'file_inode'"
        assert rig.value(count) == 0
        os.link(rig.root / "a", rig.root / "d" / "b")
        rig.changed("d/b")
        assert rig.value(count) == 1
        assert rig.wrong() == {}


def test_link_and_unlink_are_hinted_on_one_name_only(tmp_path: Path) -> None:
    """The other names' rows follow: number of links, and who is charged."""
    with Rig(tmp_path, {"z": b"1" * 5000, "d": {}}) as rig:
        for number in range(4):
            os.link(rig.root / "z", rig.root / "d" / f"{number}")
            rig.changed(f"d/{number}")
            assert rig.wrong() == {}
        for name in ("z", "d/2", "d/0", "d/3"):
            (rig.root / name).unlink()
            rig.changed(name)
            assert rig.wrong() == {}


def test_a_name_that_was_only_read_is_looked_at_when_another_goes(tmp_path: Path) -> None:
    """A use is no look at the file: in the batch in which the other name vanishes, the row must follow."""
    with Rig(tmp_path, {"a": b"1", "d": {"b": HardLink("a")}}) as rig:
        (rig.root / "d" / "b").unlink()
        batch = rig.batch("d/b")
        batch.hint(rig.key(), b"a", ACCESSED)
        rig.index.apply(batch)
        rig.settle()
        assert rig.file("a").links == 1
        assert rig.wrong() == {}


def test_a_write_through_one_name_is_seen_under_all(tmp_path: Path) -> None:
    """Size, blocks, mode and times belong to the inode."""
    with Rig(tmp_path, THREE) as rig:
        (rig.root / "e" / "c").write_bytes(b"y" * 50_000)
        (rig.root / "e" / "c").chmod(0o640)
        rig.changed("e/c")
        assert rig.wrong() == {}


def test_a_name_changes_from_one_inode_to_another(tmp_path: Path) -> None:
    """Renamed over a linked name: the old inode loses a link, the new one is charged by itself."""
    with Rig(tmp_path, THREE) as rig:
        (rig.root / "e" / "other").rename(rig.root / "a")
        rig.changed("a")  # and no hint yet on e/other, nor on the other links
        rig.changed("e/other")
        assert rig.wrong() == {}
        os.unlink(rig.root / "d" / "b")
        os.link(rig.root / "a", rig.root / "d" / "b")
        rig.changed("d/b")
        assert rig.wrong() == {}


def test_names_leave_with_a_directory(tmp_path: Path) -> None:
    """The charged name is dropped with its directory: another one is charged."""
    with Rig(tmp_path, {"d": {"a": b"x" * 5000}, "e": {"b": HardLink("d/a")}}) as rig:
        (rig.root / "d").rename(tmp_path / "away")
        rig.changed("d")
        assert rig.wrong() == {}
        assert charged(rig) == ["b"]
        (tmp_path / "away").rename(rig.root / "back")
        rig.changed("back")
        assert rig.wrong() == {}


@pytest.mark.parametrize("limit", [100_000, 1], ids=["remembered", "too many to remember"])
def test_links_made_and_removed_during_a_first_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Listing the rest takes a while: what is hinted meanwhile on one name reaches the others at the end."""
    monkeypatch.setattr("indexer.index.links.MISSED_LIMIT", limit)
    with Rig(tmp_path, None) as rig:
        for name in ("listed", "later"):
            (rig.root / name).mkdir()
        (rig.root / "listed" / "a").write_bytes(b"x" * 5000)
        (rig.root / "listed" / "b").write_bytes(b"y" * 5000)
        os.link(rig.root / "listed" / "b", rig.root / "listed" / "c")
        rig.first(budget=1)
        while not rig.value("SELECT count(*) FROM file"):
            rig.turn(budget=1)
        assert rig.index.bulk
        os.link(rig.root / "listed" / "a", rig.root / "listed" / "d")
        (rig.root / "listed" / "c").unlink()
        rig.apply("listed/c", "listed/d")
        rig.settle()
        assert rig.wrong() == {}


def test_a_verification_of_many_links_stats_each_name_once(tmp_path: Path) -> None:
    """A backup tree of hard links must not be read as often as there are links."""
    with Rig(tmp_path, {"d0": {f"f{number}": b"1" for number in range(20)}}) as rig:
        for copy in range(1, 10):
            (rig.root / f"d{copy}").mkdir()
            for number in range(20):
                os.link(rig.root / "d0" / f"f{number}", rig.root / f"d{copy}" / f"f{number}")
        rig.verify()
        before = rig.index.applied.seen
        rig.verify()
        assert rig.index.applied.seen - before == 200
        assert rig.wrong() == {}


def test_links_across_two_mounts_of_one_filesystem(tmp_path: Path) -> None:
    """A bind mount of the same filesystem may be named as a part of the store: events reach both parts."""
    (tmp_path / "other").mkdir()
    (tmp_path / "root" / "part").mkdir(parents=True)
    bind(tmp_path / "other", tmp_path / "root" / "part")
    try:
        with Rig(tmp_path, {"a": b"1", "part": {"b": b"22"}}, filesystems=["part"]) as rig:
            assert rig.wrong() == {}
            (rig.root / "a").write_bytes(b"changed")
            (rig.root / "part" / "b").write_bytes(b"changed as well")
            rig.changed("a", "part/b")
            assert rig.wrong() == {}
    finally:
        unmount(tmp_path / "root" / "part")


@pytest.mark.parametrize("linked", [False, True])
def test_a_charge_follows_a_file_that_takes_an_uncharged_name(tmp_path: Path, linked: bool) -> None:
    """Where an uncharged link was, a file of its own is charged."""
    with Rig(tmp_path, THREE) as rig:
        (rig.root / "new").write_bytes(b"z" * 12_000)
        if linked:
            os.link(rig.root / "new", rig.root / "d" / "new2")
        (rig.root / "new").rename(rig.root / "e" / "c")
        rig.changed("e/c", "new", "d/new2")
        assert rig.wrong() == {}


def test_an_only_name_is_charged_while_its_former_name_is_still_in_the_index(tmp_path: Path) -> None:
    """A file is renamed over a linked name; that is looked at for its links before its old name is seen to be gone."""
    with Rig(tmp_path, {"a": b"z" * 12_000, "f": b"1" * 5_000, "g": HardLink("f"), "h": HardLink("f")}) as rig:
        (rig.root / "a").rename(rig.root / "f")
        rig.apply("g")  # the number of its links changed: so all names of the inode are looked at, f among them
        rig.changed("a")
        assert rig.wrong() == {}


def test_a_write_through_a_name_that_is_gone_is_seen_under_the_others(tmp_path: Path) -> None:
    """Who opened a file by a name that was then removed is reported under it; the file lives on under its others."""
    with Rig(tmp_path, THREE) as rig, open(rig.root / "d" / "b", "r+b") as stream:
        (rig.root / "d" / "b").unlink()
        rig.changed("d/b")
        stream.write(b"y" * 50_000)
        stream.flush()
        rig.changed("d/b")
        assert rig.wrong() == {}
        (rig.root / "d" / "b").write_bytes(b"another file under the former name")
        rig.changed("d/b")
        stream.write(b"y" * 50_000)
        stream.flush()
        rig.changed("d/b")
        assert rig.wrong() == {}
