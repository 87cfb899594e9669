"""Rows of one inode that cannot all be true: a name was looked at, then another one changed the file."""

from __future__ import annotations

import os
from pathlib import Path

from tests.index.rig import Rig
from tests.trees import HardLink


def test_a_name_that_goes_with_its_directory_gives_its_charge_away(tmp_path: Path) -> None:
    """Its row still says that it is the only one: the link to it was made after it had been looked at."""
    with Rig(tmp_path, {"a": {"file": b"1" * 5000}, "z": {}}) as rig:
        os.link(rig.root / "a" / "file", rig.root / "z" / "other")
        (rig.root / "a" / "file").unlink()
        (rig.root / "a").rmdir()
        rig.apply("z/other", drained=False)
        rig.changed("a")
        assert rig.wrong() == {}


def test_an_inode_number_that_is_given_again_is_another_file(tmp_path: Path) -> None:
    """The row of a file that went unseen takes no charge from the links of the one that has its number now."""
    with Rig(tmp_path, {"a": {"file": b"1" * 5000}, "z": {}}) as rig:
        (rig.root / "z" / "one").write_bytes(b"2" * 9000)
        os.link(rig.root / "z" / "one", rig.root / "z" / "two")
        rig.execute("UPDATE file SET inode = ?", (rig.root / "z" / "one").stat().st_ino)
        rig.apply("z/one", "z/two")
        assert rig.value("SELECT sum(charged) FROM file WHERE name IN ('one', 'two')") == 1
        (rig.root / "a" / "file").unlink()
        rig.changed("a/file")
        assert rig.wrong() == {}


def test_a_name_that_came_and_went_unseen_is_looked_for(tmp_path: Path) -> None:
    """A file had one link more when it was looked at than the index has names: the other one was never indexed."""
    with Rig(tmp_path, {"file": b"1", "d": {}}) as rig:
        os.link(rig.root / "file", rig.root / "d" / "passing")
        rig.changed("file")
        assert rig.file("file").links == 2
        (rig.root / "d" / "passing").write_bytes(b"written through it")
        (rig.root / "d" / "passing").unlink()
        rig.changed("d/passing")
        assert rig.wrong() == {}


def test_names_that_disagree_are_looked_at_again_before_all_is_settled(tmp_path: Path) -> None:
    """One name of three has an old row, and no event will ever come on it."""
    with Rig(tmp_path, {"a": b"1", "b": HardLink("a"), "c": HardLink("a")}) as rig:
        rig.execute("UPDATE file SET size = 77, links = 1 WHERE name = 'a'")
        rig.index._links.note(1, (rig.root / "a").stat().st_ino)
        rig.index._links.refresh_charges()
        assert not rig.index.settled
        rig.settle()
        assert rig.wrong() == {}


def test_names_outside_the_store_are_not_looked_for_for_ever(tmp_path: Path) -> None:
    """A tree of links into a backup keeps its links: nothing is torn, and the index settles."""
    with Rig(tmp_path, {"file": b"1"}) as rig:
        os.link(rig.root / "file", tmp_path / "outside")
        rig.changed("file")
        assert rig.index.settled
        assert rig.file("file").links == 2
