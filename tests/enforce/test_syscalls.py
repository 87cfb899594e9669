"""What the recipe asks of the kernel: only descriptors and single components, and nothing that needs a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.rename import rename_noreplace
from tests.capabilities import needs
from tests.enforce.arena import Arena
from tests.program import REPOSITORY, unmeasured

if TYPE_CHECKING:
    from pathlib import Path

CALLS = re.compile(
    r"^(?:\d+ +)?(unlink|rename|rmdir|unlinkat|renameat|renameat2|link|linkat|chmod|fchmodat|chown)\((.*)\) += "
)
LEDGER = ("ledger.db", "ledger.ballast")

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.enforce.arena import FRAMES, UPLOADS, Arena
whole = sys.argv[2] == "True"
rules = (replace(UPLOADS, remove_empty_dirs=whole, whole_directories=whole), replace(FRAMES, whole_directories=whole))
arena = Arena(Path(sys.argv[1]), rules=rules)
run = arena.run(arena.plan())
assert (run.files_removed, run.directories_removed) == (5, 1 + whole), run
assert len(arena.restore([b"uploads/job"]).restored) == 2
assert arena.purge(everything=True).files_removed == 1
arena.close()
"""


@needs("strace")
@pytest.mark.parametrize("whole", [False, True])
def test_every_name_is_one_component_of_a_directory_held_open(tmp_path: Path, whole: bool) -> None:
    """Under strace: each unlink, rename, rmdir has a directory descriptor and one component; no chmod, chown."""
    arena = Arena(tmp_path / "store")
    for name in ("uploads/a", "uploads/job/b", "uploads/job/c", "frames/job/d", "frames/job/e"):
        arena.write(name)
    arena.close()
    trace = tmp_path / "trace"
    watched = "trace=unlink,unlinkat,rename,renameat,renameat2,rmdir,link,linkat,chmod,fchmodat,chown,lchown,fchownat"
    subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-s",
            "4096",
            "-e",
            watched,
            "-o",
            trace,
            sys.executable,
            "-B",
            "-c",
            SCRIPT,
            arena.root,
            str(whole),
        ],
        check=True,
        env={**unmeasured(), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=REPOSITORY,
    )
    seen: dict[str, int] = {}
    for line in trace.read_text().splitlines():
        found = CALLS.match(line)
        if not found or "+++ " in line:
            continue
        call, arguments = found.groups()
        names = re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)
        if any(name.endswith(LEDGER) or "ledger.db-journal" in name for name in names):
            continue  # SQLite's own
        assert "AT_FDCWD" not in arguments, line
        assert all("/" not in name for name in names), line
        assert call in {"unlinkat", "renameat2"}, line
        seen[call] = seen.get(call, 0) + 1
    # 5 into the trash, 2 back; 2 deletes, 1 rmdir, 1 purge. In one piece 2 directories there, 1 made anew, 1 rmdir more
    assert seen == ({"renameat2": 10, "unlinkat": 5} if whole else {"renameat2": 7, "unlinkat": 4})


def test_open_beneath_refuses_what_no_index_holds(tmp_path: Path) -> None:
    """Dots, empty components and absolute paths are refused before the kernel is asked."""
    fd = os.open(tmp_path, os.O_PATH)
    for path in (b"..", b"a/../b", b"/etc", b"a//b", b"./a", b"a/", b"a/."):
        with pytest.raises(ValueError, match="component"):
            open_beneath(fd, path)
    os.close(fd)


def test_rename_noreplace_where_the_filesystem_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link and an unlink do the same, and replace nothing either."""
    import indexer.syscalls.rename as module

    def cannot(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(module, "_renameat2", cannot)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        rename_noreplace(fd, b"a", fd, b"b")
    rename_noreplace(fd, b"a", fd, b"c")
    os.close(fd)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"b", "c": b"a"}
