"""What a stat may legally say: nobody can stop the writer with `touch`, `truncate` or a locale."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.index import stats
from indexer.index.queries import Reader
from indexer.index.stats import Fields
from indexer.rules import Rule
from tests.capabilities import needs
from tests.index.rig import NOW, Rig
from tests.program import REPOSITORY
from tests.trees import make, walk

CLASSES = [
    Rule("plain", ("d/**",), ttl=1),
    Rule("all", ("**",), ttl=1, clocks=("atime", "mtime", "ctime", "btime"), arrival_floor=False),
]

TIMES = [-(2**63), -(2**40), -1, 0, 2**31, 2**40, 2**62, 2**63 - 1]
"""Seconds; tmpfs keeps all of them."""


@needs("CAP_SYS_ADMIN", "fs:tmpfs")
def test_any_mtime_and_atime_of_files_and_directories(mount: Callable[..., Path], tmp_path: Path) -> None:
    """From before the big bang to after the end: rows, counters and quick passes go on."""
    root = mount("tmpfs")
    with Rig(tmp_path, {}, CLASSES, root=root) as rig:
        for number, first in enumerate(TIMES):
            make(root, {"d": {f"f{number}": b"1"}, f"g{number}": b"22", f"dir{number}": {"h": b"333"}})
            for name in (f"d/f{number}", f"g{number}", f"dir{number}"):
                os.utime(root / name, (TIMES[-1 - number], first))
        rig.changed("d", *(f"g{number}" for number in range(len(TIMES))), *(f"dir{number}" for number in range(8)))
        sane = [name for name in rig.wrong() if all(f"{number}'" not in name for number in (0, 6, 7))]
        assert sane == []
        assert rig.paths() == set(walk(root))
        with Reader.open(rig.path) as reader:
            limit = 2**62
            assert all(abs(file.mtime) <= limit and abs(file.ctime) <= limit for file in reader.due("all", 2**63 - 1))
        rig.prove()
        rig.reopen()
        assert rig.quick() == set()
        for number in range(len(TIMES)):
            (root / f"dir{number}" / "new").write_bytes(b"1")
            os.utime(root / f"dir{number}", (0, TIMES[number]))  # its mtime is as before
        assert rig.quick() == {b"dir%d" % number for number in range(len(TIMES))}
        rig.verify()
        assert rig.paths() == set(walk(root))


@needs("CAP_SYS_ADMIN", "fs:tmpfs")
def test_sizes_whose_sum_is_no_longer_a_number_that_sqlite_has(mount: Callable[..., Path], tmp_path: Path) -> None:
    """Two holes of 8 EiB: counters stay whole numbers, sums can be asked for, and removing one leaves the other."""
    root = mount("tmpfs")
    with Rig(tmp_path, {"a": b"1"}, [Rule("all", ("**",), ttl=1)], root=root) as rig:
        for name in ("x", "y", "z"):
            (root / name).write_bytes(b"")
            os.truncate(root / name, 2**63 - 1)
        rig.changed("x", "y", "z")
        rig.reopen()
        with Reader.open(rig.path) as reader:
            assert reader.totals().bytes > 2**50
            assert reader.class_totals()["all"].files == 4
            assert reader.file(b"x").size == 2**63 - 1  # type: ignore[union-attr]
        for name in ("x", "y", "z"):
            (root / name).unlink()
        rig.changed("x", "y", "z")
        assert rig.wrong() == {}
    (tmp_path / "2").mkdir()
    for name in ("x", "y"):
        (root / name).write_bytes(b"")
        os.truncate(root / name, 2**63 - 1)
    with Rig(tmp_path / "2", {}, root=root) as rig:
        assert rig.index.complete
        assert rig.paths() == {b"a", b"x", b"y"}


def test_inode_numbers_beyond_the_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FUSE hashes paths to 64 bits, overlayfs uses the highest of them: such numbers do not fit a signed column."""

    def high(fd: int, names: list[bytes]) -> Iterator[Fields]:
        for fields in stats.stats(fd, names):
            yield (*fields[:7], _signed(fields[7] | 1 << 63), *fields[8:]) if fields[0] else fields

    with Rig(tmp_path, {"a": b"1", "d": {"b": b"22"}}, CLASSES) as rig:
        monkeypatch.setattr("indexer.index.compare.stats", high)
        rig.verify()
        make(rig.root, {"e": {"c": b"333"}})
        os.link(rig.root / "a", rig.root / "e" / "hard")
        rig.changed("e")
        (rig.root / "a").rename(rig.root / "d" / "moved")
        rig.changed("a", "d/moved")
        assert rig.file("d/moved").identity.inode == os.stat(rig.root / "d" / "moved").st_ino | 1 << 63
        assert rig.wrong(["kind", "size", "mtime", "allocated", "links"]) == {}


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


@pytest.mark.parametrize("born", [-(2**62), 2**40, 2**62])
def test_birth_times_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, born: int) -> None:
    """What a filesystem makes up is no birth time."""

    def odd(fd: int, names: list[bytes]) -> Iterator[Fields]:
        for fields in stats.stats(fd, names):
            yield (*fields[:11], born, *fields[12:]) if fields[0] else fields

    monkeypatch.setattr("indexer.index.compare.stats", odd)
    with Rig(tmp_path, {"a": b"1", "d": {"b": b"22"}}, CLASSES) as rig:
        assert rig.wrong() == {}
        assert rig.file("a").btime is None
        (rig.root / "a").write_bytes(b"changed")
        rig.changed("a")
        assert rig.wrong() == {}


_LISTING = """
import os, sys
from pathlib import Path
from tests.index.rig import Rig
assert sys.getfilesystemencoding() == sys.argv[2], sys.getfilesystemencoding()
with Rig(Path(sys.argv[1]), {}) as rig:
    assert rig.paths() == {"d\\u00e9/f\\u00e9".encode(), b"\\xff"}, rig.paths()
    assert rig.value("SELECT typeof(name) FROM file WHERE directory_id > 1") == "text"
    rig.changed("d\\u00e9/f\\u00e9".encode())
    assert rig.wrong() == {}
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_locale_changes_no_name(tmp_path: Path, encoding: str) -> None:
    """What Python makes of names in another locale never reaches the index: a name is its bytes."""
    make(tmp_path / "root", {"d\u00e9".encode(): {"f\u00e9".encode(): b"1"}, b"\xff": b"2"})
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))},
        "LC_ALL": "C",
        "PYTHONUTF8": "0" if encoding == "ascii" else "1",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [sys.executable, "-c", _LISTING, tmp_path, encoding],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_directory_with_very_many_names(tmp_path: Path) -> None:
    """More than a flush, more than a question: hinted all at once, listed all at once, removed all at once."""
    with Rig(tmp_path, {"d": {}}) as rig:
        names = [f"d/{number:05}" for number in range(25_000)]
        for name in names:
            os.close(os.open(rig.root / name, os.O_CREAT))
        rig.changed(*names)
        assert rig.wrong() == {}
        rig.verify()
        for name in names[::2]:
            (rig.root / name).unlink()
        rig.now = NOW + 10
        rig.quick()
        assert rig.wrong() == {}
        for name in names[1::2]:
            (rig.root / name).unlink()
        rig.changed(*names)
        assert rig.wrong() == {}
