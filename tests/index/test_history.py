"""Who a file is: what moves within the tree keeps its history, what is new under a known name has none."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.events import ACCESSED
from indexer.index import stats
from indexer.index.stats import Fields
from indexer.rules import Rule
from tests.index.rig import NOW, Rig

SEEN, USED = 1_111, NOW - 5_000
"""A history that no file can have by itself."""
HISTORY = (SEEN, USED)

KEEP = Rule("keep", ("**",), ttl=1, clocks=("mtime",))


def mark(rig: Rig, name: str = "a") -> None:
    """Give a file in the root the history."""
    rig.execute("UPDATE file SET first_seen = ?, used_at = ? WHERE name = ?", SEEN, USED, name)


def history(rig: Rig, place: str) -> tuple[int, int]:
    """Return when a file was first seen and last used."""
    file = rig.file(place)
    return file.first_seen, file.used_at


@pytest.mark.parametrize("order", [("a", "d/b"), ("d/b", "a")], ids=["away first", "there first"])
@pytest.mark.parametrize("split", [False, True], ids=["one batch", "two batches"])
@pytest.mark.parametrize("drained", [False, True])
def test_a_rename_keeps_first_seen_and_last_use(
    tmp_path: Path, order: tuple[str, str], split: bool, drained: bool
) -> None:
    """Across directories, in either order of the two names, within a batch and across two, and so does its clock."""
    with Rig(tmp_path, {"a": b"1", "d": {}}, [KEEP]) as rig:
        mark(rig)
        os.utime(rig.root / "a", (7, 7))
        (rig.root / "a").rename(rig.root / "d" / "b")
        for part in [[order[0]], [order[1]]] if split else [order]:
            rig.apply(*part, drained=drained)
        assert history(rig, "d/b") == HISTORY
        assert rig.file("d/b").clock == SEEN
        assert rig.wrong() == {}


def test_a_rename_that_is_seen_two_batches_apart_is_an_arrival(tmp_path: Path) -> None:
    """The memory is bounded: after two quiet batches nobody waits for the other name."""
    with Rig(tmp_path, {"a": b"1", "d": {}}) as rig:
        mark(rig)
        (rig.root / "a").rename(rig.root / "d" / "b")
        rig.apply("a")
        rig.apply()
        rig.apply()
        rig.apply("d/b")
        assert history(rig, "d/b")[0] == NOW


@pytest.mark.parametrize("order", list(itertools.permutations(("a", "b", "c"))))
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_file_that_moves_twice_keeps_its_history(tmp_path: Path, order: tuple[str, ...], cut: int) -> None:
    """From a to b, where a batch may already have seen it, and on to c."""
    with Rig(tmp_path, {"a": b"1"}) as rig:
        mark(rig)
        (rig.root / "a").rename(rig.root / "b")
        rig.apply(*order[:cut], drained=False)
        (rig.root / "b").rename(rig.root / "c")
        rig.apply(*order, drained=False)
        assert history(rig, "c") == HISTORY
        assert rig.wrong() == {}


@pytest.mark.parametrize("drained", [False, True])
def test_another_file_under_a_known_name_is_a_new_file(tmp_path: Path, drained: bool) -> None:
    """Write a temporary file and rename it over: the new one's age begins now, whatever its predecessor's was."""
    with Rig(tmp_path, {}) as rig:
        (rig.root / "a").write_bytes(b"first")
        rig.apply("a", drained=drained)
        mark(rig)
        (rig.root / "temporary").write_bytes(b"second")
        (rig.root / "temporary").rename(rig.root / "a")
        rig.apply("a", "temporary", drained=drained)
        assert history(rig, "a") == (NOW, rig.file("a").atime)


def test_an_inode_that_is_used_again_at_once_is_a_new_file(tmp_path: Path) -> None:
    """Unlink and create: the same inode number (ext4), another birth, no history."""
    with Rig(tmp_path, {"a": b"first"}) as rig:
        mark(rig)
        before = rig.file("a").identity
        (rig.root / "a").unlink()
        (rig.root / "a").write_bytes(b"second")
        rig.apply("a")
        assert rig.file("a").identity != before
        assert history(rig, "a") == (NOW, rig.file("a").atime)


def test_an_exchange_of_two_files_exchanges_their_histories(tmp_path: Path) -> None:
    """Both names are known and both identities are known: each takes its own along."""
    with Rig(tmp_path, {"a": b"1", "b": b"22"}) as rig:
        mark(rig)
        other = history(rig, "b")
        (rig.root / "a").rename(rig.root / "spare")
        (rig.root / "b").rename(rig.root / "a")
        (rig.root / "spare").rename(rig.root / "b")
        rig.apply("b", "a")
        assert (history(rig, "b"), history(rig, "a")) == (HISTORY, other)
        assert rig.wrong() == {}


def test_a_file_that_takes_the_place_of_another_keeps_its_own_history(tmp_path: Path) -> None:
    """Renamed over: the target's history goes with the target."""
    with Rig(tmp_path, {"a": b"1", "b": b"22"}) as rig:
        mark(rig)
        (rig.root / "a").rename(rig.root / "b")
        rig.apply("b", "a")
        assert history(rig, "b") == HISTORY
        assert rig.wrong() == {}


def test_a_directory_s_rename_keeps_the_histories_below(tmp_path: Path) -> None:
    """They are the same rows."""
    with Rig(tmp_path, {"d": {"a": b"1"}}) as rig:
        mark(rig)
        (rig.root / "d").rename(rig.root / "e")
        rig.changed("e", "d")
        assert history(rig, "e/a") == HISTORY


def test_moves_while_nobody_watched_keep_their_history(tmp_path: Path) -> None:
    """The quick pass sees both directories in one pass."""
    with Rig(tmp_path, {"one": {"a": b"1"}, "two": {}, "three": {}}) as rig:
        mark(rig)
        (rig.root / "one" / "a").rename(rig.root / "three" / "b")
        rig.reopen()
        assert rig.quick() == {b"one", b"three"}
        assert history(rig, "three/b") == HISTORY


def test_without_birth_times_a_reused_inode_number_brings_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inode numbers are reused at once: where there is nothing else to go by, size and mtime must agree too."""

    def birthless(fd: int, names: list[bytes]) -> Iterator[Fields]:
        for fields in stats.stats(fd, names):
            yield (fields[0] & ~0x800, *fields[1:7], 4711, *fields[8:]) if fields[0] else fields

    monkeypatch.setattr("indexer.index.compare.stats", birthless)
    with Rig(tmp_path, {"a": b"first"}) as rig:
        mark(rig)
        (rig.root / "a").unlink()
        (rig.root / "b").write_bytes(b"second")
        rig.apply("a", "b")
        assert history(rig, "b") == (NOW, rig.file("b").atime)
        mark(rig, "b")
        (rig.root / "b").rename(rig.root / "c")
        rig.apply("c", "b")
        assert history(rig, "c") == HISTORY


def test_memory_for_history_is_bounded_and_prefers_the_present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a storm without a quiet moment the oldest are forgotten, not the newest."""
    monkeypatch.setattr("indexer.index.history.LIMIT", 10)
    with Rig(tmp_path, {"a": b"1"}) as rig:
        for number in range(50):
            (rig.root / f"n{number}").write_bytes(b"")
            rig.apply(f"n{number}", drained=False)
        mark(rig)
        (rig.root / "a").rename(rig.root / "b")
        rig.apply("b", drained=False)
        rig.apply("a", drained=False)
        assert history(rig, "b") == HISTORY


def test_a_use_moves_along(tmp_path: Path) -> None:
    """Read, then renamed, in one batch: the use is known under the new name."""
    with Rig(tmp_path, {"a": b"1"}) as rig:
        rig.apply("a", kinds=ACCESSED)
        assert rig.file("a").used_at == NOW
        (rig.root / "a").rename(rig.root / "b")
        rig.apply("a", "b")
        assert rig.file("b").used_at == NOW
