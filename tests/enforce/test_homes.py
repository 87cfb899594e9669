"""Nothing goes back into a directory that would let others see it, change it or run it; everything else does."""

from __future__ import annotations

import os
import signal
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import hooks
from tests.enforce.arena import FRAMES, UPLOADS, Arena, Staged, digest
from tests.enforce.conftest import needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_root

ALICE, MALLORY, SERVICE = 1001, 1002, 1003
KEY, TOOL = b"uploads/s/alice/key", b"uploads/s/alice/tool"


@pytest.fixture(autouse=True)
def foresee(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every restore here is one that a dry run has told of before, word for word."""
    monkeypatch.setattr(Arena, "foresee", True)


@pytest.fixture
def emptying(tmp_path: Path) -> Iterator[Arena]:
    """Return a store whose classes remove directories that have become empty."""
    made = Arena(tmp_path / "store", rules=tuple(replace(rule, remove_empty_dirs=True) for rule in (UPLOADS, FRAMES)))
    yield made
    made.close()


def _directory(path: Path, uid: int, mode: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def _facts(path: Path) -> tuple[int, int, int]:
    st = path.stat()
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)


def _alices(arena: Arena, *, shared: int = 0o1777) -> Path:
    """Make a private directory of hers, with a key and a setuid tool, in a shared one; return it."""
    for path, mode in ((KEY, 0o644), (TOOL, 0o4755)):
        arena.write(path, path)
        place = arena.root / os.fsdecode(path)
        os.chown(place, ALICE, ALICE)
        place.chmod(mode)
    _directory(arena.root / "uploads/s", 0, shared)
    (arena.root / "uploads/s/stays").mkdir(exist_ok=True)
    return _directory(arena.root / "uploads/s/alice", ALICE, 0o700)


def test_a_stranger_s_directory_of_the_same_name_gets_nothing(emptying: Arena) -> None:
    """Alice's directory was private and is gone; mallory makes one of its name: all of it stays in the trash."""
    _alices(emptying)
    run = emptying.run(emptying.plan())
    assert run.directories_removed == 1
    hers = _directory(emptying.root / "uploads/s/alice", MALLORY, 0o755)
    result = emptying.restore(run=run.run)

    assert result.restored == ()
    assert [path for path, _ in result.errors] == [KEY, TOOL]
    assert all(f"uid {MALLORY}, not {ALICE}" in text and "--to DIR" in text for _, text in result.errors)
    assert os.listdir(hers) == []
    assert len(emptying.in_trash()) == 2
    rescue = _directory(emptying.root / "rescue", 0, 0o700)
    fd = os.open(rescue, os.O_RDONLY)
    assert len(emptying.restore(run=run.run, to_fd=fd).restored) == 2
    os.close(fd)
    assert _facts(rescue / "uploads/s/alice") == (ALICE, ALICE, 0o700)


def test_a_stranger_above_gets_nothing_either(emptying: Arena) -> None:
    """A directory that anybody could read lay in a private one: it is not made again in a stranger's."""
    _alices(emptying)
    path = emptying.write("uploads/s/alice/sub/public", b"public")
    _directory(emptying.root / "uploads/s/alice/sub", ALICE, 0o755)
    run = emptying.run(emptying.plan())
    hers = _directory(emptying.root / "uploads/s/alice", MALLORY, 0o755)
    result = emptying.restore([path], run=run.run)

    assert [path for path, _ in result.errors] == [path]
    assert os.listdir(hers) == []


@pytest.mark.parametrize("whole", [False, True])
def test_a_recovery_gives_a_stranger_nothing(tmp_path: Path, whole: bool) -> None:
    """Killed between rename and look, then the directory (or the one above) is exchanged: a stray, in the trash."""
    rules = tuple(
        replace(rule, remove_empty_dirs=True, whole_directories=whole, action="delete") for rule in (UPLOADS, FRAMES)
    )
    arena = Arena(tmp_path / "store", rules=rules)
    shared = _alices(arena, shared=0o777).parent
    os.chown(shared, MALLORY, MALLORY)
    plan = arena.plan()
    arena.close()
    child = os.fork()
    if child == 0:
        try:
            window = "directory.renamed" if whole else "rename.after"
            hooks.at = Staged(window, lambda _: os.kill(os.getpid(), signal.SIGKILL))
            Arena(tmp_path / "store", rules=rules).run(plan)
        finally:
            os._exit(2)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if whole:  # what lay in `alice` is private as long as that is; so it is the directory above that she exchanges
        shared.rename(shared.with_name("away"))
        hers = _directory(arena.root / "uploads/s", SERVICE, 0o777)
    else:
        (shared / "alice").rename(shared / "away")
        hers = _directory(shared / "alice", MALLORY, 0o755)
    arena = Arena(tmp_path / "store", rules=rules)
    arena.recover()

    assert os.listdir(hers) == []
    strays = [action for action in arena.ledger.trash() if action.outcome == "stray"]
    assert len(strays) == (2 if whole else 1)
    owner = "1003" if whole else str(MALLORY)
    assert all(f"uid {owner}, not" in (action.error or "") or "ENOENT" in (action.error or "") for action in strays)
    assert {digest(KEY), digest(TOOL)} == set(arena.contents().values())
    arena.close()


def test_a_directory_exchanged_while_it_is_recorded_is_left_alone(arena: Arena, stage: Callable[..., Staged]) -> None:
    """Hers is there when the run looks whose it is, alice's when the files go: they do not go."""
    path = _alices(arena, shared=0o777)
    plan = arena.plan()
    away = path.with_name("away")
    path.rename(away)
    hers = _directory(path, MALLORY, 0o755)

    def exchange(_: bytes) -> None:
        hers.rename(path.with_name("hers"))
        away.rename(path)

    stage("ledger.after", exchange)
    run = arena.run(plan).run
    assert arena.outcomes(run) == dict.fromkeys((KEY, TOOL), ("kept", "directory_moved"))
    assert arena.tree() == {KEY, TOOL}


@pytest.mark.parametrize(
    ("uid", "mode", "back"),
    [
        (ALICE, 0o700, [KEY, TOOL]),
        (ALICE, 0o750, []),
        (ALICE, 0o701, []),
        (0, 0o700, [KEY]),
        (0, 0o755, []),
        (SERVICE, 0o700, []),
    ],
)
def test_one_that_is_no_less_private_will_do(emptying: Arena, uid: int, mode: int, back: list[bytes]) -> None:
    """Made again by its owner, or by root, and no wider: files go back; a setuid one to its own owner's only."""
    _alices(emptying)
    run = emptying.run(emptying.plan())
    _directory(emptying.root / "uploads/s/alice", uid, mode)
    result = emptying.restore(run=run.run)

    assert [one.path for one in result.restored] == back
    assert sorted([one.path for one in result.restored] + [path for path, _ in result.errors]) == [KEY, TOOL]


@pytest.mark.parametrize(("uid", "mode"), [(0, 0o1777), (SERVICE, 0o2775), (0, 0o755)])
@pytest.mark.parametrize("again", [False, True])
def test_shared_directories_get_their_files_back(arena: Arena, uid: int, mode: int, again: bool) -> None:
    """A sticky directory, a service's, root's, also when its owner has made it again: as ever, without a flag."""
    path = arena.write("uploads/in/film", b"film")
    os.chown(arena.root / "uploads/in/film", ALICE, ALICE)
    shared = _directory(arena.root / "uploads/in", uid, mode)
    arena.run(arena.plan())
    if again:
        shared.rmdir()
        _directory(shared, uid, mode)
    assert [one.path for one in arena.restore([path]).restored] == [path]


def test_a_directory_that_lost_its_sticky_bit_is_another(arena: Arena) -> None:
    """Where everybody may write, only that bit keeps others from a file's name."""
    arena.write("uploads/in/film")
    _directory(arena.root / "uploads/in", 0, 0o1777)
    arena.run(arena.plan())
    (arena.root / "uploads/in").rmdir()
    _directory(arena.root / "uploads/in", 0, 0o777)
    assert [path for path, _ in arena.restore([b""]).errors] == [b"uploads/in/film"]


@pytest.mark.parametrize(
    ("uid", "mode", "back"),
    [(ALICE, 0o755, True), (0, 0o1777, True), (0, 0o777, False), (ALICE, 0o770, False), (MALLORY, 0o700, False)],
)
def test_where_nothing_is_known(arena: Arena, uid: int, mode: int, back: bool) -> None:
    """Of the actions of an older ledger the owner of the file speaks for its directory."""
    arena.write("uploads/in/film")
    os.chown(arena.root / "uploads/in/film", ALICE, ALICE)
    arena.run(arena.plan())
    _forget(arena)
    _directory(arena.root / "uploads/in", uid, mode)
    assert bool(arena.restore([b""]).restored) is back


def _forget(arena: Arena) -> None:
    """Make the ledger one of before it knew directories."""
    arena.ledger._connection.execute("UPDATE action SET origin = NULL")
    arena.ledger._connection.execute("DELETE FROM origin")
