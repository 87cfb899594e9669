"""Uses and clocks: a read costs one cheap write now and then, and what is stored is never later than the truth."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.events import ACCESSED, CHANGED, Batch
from indexer.index.queries import Reader
from indexer.index.rows import Key
from indexer.rules import Rule
from tests.index.rig import NOW, Rig

LRU = Rule("lru", ("lru/**",), ttl=1, clocks=("atime", "mtime"), arrival_floor=False)
PLAIN = Rule("plain", ("plain/**",), ttl=1, arrival_floor=False)

TREE = {"lru": {"a": b"1", "b": b"22"}, "plain": {"c": b"333"}}


def read(rig: Rig, place: str, at: int) -> int:
    """Somebody closed the file after reading only; return how many rows that wrote."""
    rig.now = at
    return rig.changes([_only(rig.batch(place, kinds=ACCESSED))])


def _only(batch: Batch) -> Batch:
    """Without the note of the last event, which is written once a batch."""
    batch.events = 0
    return batch


def test_a_use_is_noted_without_a_stat(tmp_path: Path) -> None:
    """Only `used_at` changes: what else happened to the file has events of its own."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        rig.prove()
        before = rig.file("lru/a")
        (rig.root / "lru" / "a").write_bytes(b"changed, and its event is not here yet")
        seen = rig.index.applied.seen
        assert read(rig, "lru/a", NOW + 1000) == 1
        after = rig.file("lru/a")
        assert (after.used_at, after.size, after.mtime) == (NOW + 1000, before.size, before.mtime)
        assert rig.index.applied.seen == seen


def test_a_file_that_is_read_all_the_time_is_written_once_a_resolution(tmp_path: Path) -> None:
    """60 seconds by default; then once more."""
    with Rig(tmp_path, TREE, [LRU, PLAIN], access_resolution=60) as rig:
        rig.prove()
        writes = [read(rig, "lru/a", NOW + second) for second in range(1000, 1130)]
        assert [second for second, wrote in zip(range(1000, 1130), writes, strict=True) if wrote] == [1000, 1061, 1122]
        assert rig.file("lru/a").used_at == NOW + 1122


def test_a_read_moves_no_index_entry(tmp_path: Path) -> None:
    """The stored clock of a class that ages by use stays a lower bound; plans take it as such."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        before = rig.file("lru/a").clock
        read(rig, "lru/a", NOW + 1000)
        assert rig.file("lru/a").clock == before
        assert rig.misclassified() == {}
        with Reader.open(rig.path) as reader:
            assert {file.name for file in reader.due("lru", NOW + 500)} == {b"a", b"b"}


def test_a_stat_that_finds_a_later_use_leaves_the_clock_too(tmp_path: Path) -> None:
    """A rise of st_atime alone is the same as a read; a write writes the true clock."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        before = rig.file("lru/a")
        path = rig.root / "lru" / "a"
        os.utime(path, (NOW + 10, before.mtime))
        rig.apply("lru/a")
        assert (rig.file("lru/a").clock, rig.file("lru/a").used_at) == (before.clock, NOW + 10)
        os.utime(path, (NOW + 20, before.mtime + 5))
        rig.apply("lru/a")
        assert rig.file("lru/a").clock == NOW + 20
        assert rig.misclassified() == {}


@pytest.mark.parametrize("place", ["lru/a", "plain/c"])
def test_a_clock_that_goes_back_is_written_at_once(tmp_path: Path, place: str) -> None:
    """`touch -d` into the past: a lower bound must stay one, or the file would never come up."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        os.utime(rig.root / place, (1_000, 2_000))
        rig.apply(place)
        assert rig.file(place).clock == 2_000
        assert rig.misclassified() == {}


def test_a_use_is_older_than_what_a_stat_says_later(tmp_path: Path) -> None:
    """The last use is the later of both, whichever came first."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        read(rig, "lru/a", NOW + 1000)
        os.utime(rig.root / "lru" / "a", (NOW + 2000, 5))
        rig.apply("lru/a")
        assert rig.file("lru/a").used_at == NOW + 2000
        assert rig.value("SELECT used_at FROM file WHERE name = 'a'") is None
        os.utime(rig.root / "lru" / "a", (NOW + 500, 5))
        rig.apply("lru/a")
        assert rig.file("lru/a").used_at == NOW + 500  # what was observed is gone with the later st_atime
        assert rig.misclassified() == {}


def test_a_use_survives_stats_that_know_of_none(tmp_path: Path) -> None:
    """On a `noatime` mount st_atime never moves: only the event tells."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        read(rig, "lru/a", NOW + 1000)
        (rig.root / "lru" / "a").chmod(0o600)
        rig.apply("lru/a")
        rig.verify()
        assert rig.file("lru/a").used_at == NOW + 1000


def test_write_and_read_in_one_batch(tmp_path: Path) -> None:
    """A new file that was read before anybody looked: stat first, then the use."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        rig.now = NOW + 1000
        (rig.root / "lru" / "new").write_bytes(b"1")
        rig.changed("lru/new", kinds=CHANGED | ACCESSED)
        assert rig.file("lru/new").used_at == NOW + 1000
        assert rig.wrong() == {}


def test_uses_of_what_is_not_there_are_nothing(tmp_path: Path) -> None:
    """Of a directory, of a vanished file, of a name that never was."""
    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        rig.prove()
        rows = rig.index.connection.execute("SELECT * FROM file").fetchall()
        for place in ("lru", "lru/nothing", "plain"):
            assert read(rig, place, NOW + 1000) == 0
        assert rig.index.connection.execute("SELECT * FROM file").fetchall() == rows


def test_uses_that_somebody_disowns_are_dropped(tmp_path: Path) -> None:
    """A removal opens the files that it looks at: its own reads are no use."""
    asked: list[tuple[int, Key]] = []

    def disown(directory_id: int, name: Key) -> bool:
        asked.append((directory_id, name))
        return name != "a"

    with Rig(tmp_path, TREE, [LRU, PLAIN]) as rig:
        rig.index.on_access = disown
        rig.now = NOW + 1000
        rig.apply("lru/a", "lru/b", kinds=ACCESSED)
        assert (rig.file("lru/a").used_at < NOW, rig.file("lru/b").used_at) == (True, NOW + 1000)
        assert asked == [(rig.directory("lru"), "a"), (rig.directory("lru"), "b")]


def test_arrival_and_the_clock(tmp_path: Path) -> None:
    """An old file that comes today is aged from today, also in a directory that came as a whole."""
    floor = Rule("floor", ("**",), ttl=1)
    (tmp_path / "outside" / "d").mkdir(parents=True)
    for place in ("f", "d/g"):
        (tmp_path / "outside" / place).write_bytes(b"1")
        os.utime(tmp_path / "outside" / place, (5, 5))
    with Rig(tmp_path, {}, [floor]) as rig:
        for name in ("f", "d"):
            (tmp_path / "outside" / name).rename(rig.root / name)
        rig.changed("f", "d")
        assert {place: rig.file(place).first_seen for place in ("f", "d/g")} == {"f": NOW, "d/g": NOW}
        assert rig.misclassified() == {}


def test_a_first_scan_dates_arrivals_back_to_ctime(tmp_path: Path) -> None:
    """Installing on an old tree does not restart every age; nothing is first seen in the future."""
    with Rig(tmp_path, {"f": b"1"}, [Rule("all", ("**",), ttl=1)]) as rig:
        assert rig.file("f").first_seen == int((rig.root / "f").stat().st_ctime)
    (tmp_path / "2").mkdir()
    with Rig(tmp_path / "2", None) as rig:
        (rig.root / "f").write_bytes(b"1")
        rig.now = 1_000_000
        rig.first()
        rig.settle()
        assert rig.file("f").first_seen == 1_000_000
