"""Children that go as one: whatever happens to one file on the way, all of the child is gone, or all of it is there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from indexer.enforce import hooks
from indexer.policy.plan import Plan, Remove
from indexer.policy.units import Whole, decide_unit
from indexer.records import Unit
from indexer.rules import Rule
from indexer.syscalls.rename import rename_noreplace
from tests.enforce.arena import Arena, Staged, digest

JOBS = Rule("jobs", ("jobs/**",), ttl=86400, unit="child")
SCRATCH = Rule("scratch", ("scratch/**",), ttl=86400, unit="child", action="delete")
FILES = {
    b"jobs/one/a": b"A",
    b"jobs/one/deep/b": b"B",
    b"jobs/one/deep/c": b"C",
    b"jobs/two/d": b"D",
    b"scratch/x/e": b"E",
    b"scratch/x/y/f": b"F",
}
CHILDREN = (b"jobs/one", b"jobs/two", b"scratch/x")


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """Return a store with three children."""
    made = filled(Arena(tmp_path / "store", rules=(JOBS, SCRATCH)))
    yield made
    made.close()


def filled(arena: Arena) -> Arena:
    """Write the files, and a directory without any."""
    for path, content in FILES.items():
        arena.write(path, content)
    (arena.root / "jobs/one/empty").mkdir(exist_ok=True)
    return arena


def whole(arena: Arena, *children: bytes) -> Plan:
    """Return the plan for these children (all, without any)."""
    removes: list[Remove] = []
    for child in children or CHILDREN:
        paths = sorted(path for path in arena.tree() if path.startswith(child + b"/"))
        rule = JOBS if child.startswith(b"jobs/") else SCRATCH
        if paths:
            found = decide_unit(
                rule, Unit(child, tuple(arena.indexed(path, rule) for path in paths)), now=int(arena.now)
            )
            assert isinstance(found, Whole)
            removes += found.removes
    return Plan(tuple(removes), {}, truncated=False, refused=None, now=int(arena.now))


def of(child: bytes) -> set[bytes]:
    """Return the files of a child."""
    return {path for path in FILES if path.startswith(child + b"/")}


def test_a_child_goes_with_all_of_its_directories(arena: Arena) -> None:
    """Files by the class's action, directories whatever `remove_empty_dirs` says, also one that never had a file."""
    result = arena.run(whole(arena))
    assert (result.files_removed, result.directories_removed, result.kept, result.errors) == (6, 6, {}, ())
    assert arena.tree() == set()
    assert sorted(os.listdir(arena.root)) == [".indexer", "jobs", "scratch"]
    assert os.listdir(arena.root / "jobs") == os.listdir(arena.root / "scratch") == []
    assert arena.in_trash() == sorted(digest(FILES[path]) for path in of(b"jobs/one") | of(b"jobs/two"))
    assert {one[0] for path, one in arena.outcomes(result.run).items() if path in FILES} == {"trashed", "deleted"}
    assert result.bytes_freed == 2 * 4096


def test_it_comes_back_as_one(arena: Arena) -> None:
    """Naming one of its files brings all of it back, with the directories that held none; and says so in one line."""
    arena.run(whole(arena))
    result = arena.restore([b"jobs/one/deep/c"])
    assert [one.as_json() for one in result.restored] == [
        {"path": "jobs/one", "to": "jobs/one", "beside": False, "unit": "child", "files": 3}
    ]
    assert arena.tree() == of(b"jobs/one")
    assert (arena.root / "jobs/one/empty").is_dir()
    assert arena.restore([b"scratch/x"]).errors == ((b"scratch/x", "nothing in the trash under this path"),)


def open_it(arena: Arena) -> Callable[[], None]:
    """Somebody has a file open."""
    os.open(arena.root / "jobs/one/deep/c", os.O_RDONLY)
    return lambda: None


def change_it(arena: Arena) -> Callable[[], None]:
    """A file is written again."""
    path = arena.root / "jobs/one/deep/c"
    path.write_bytes(b"changed")
    os.utime(path, (arena.now, arena.now))
    return lambda: None


def replace_it(arena: Arena) -> Callable[[], None]:
    """Another file has taken the name."""
    (arena.root / "jobs/one/deep/new").write_bytes(b"another")
    (arena.root / "jobs/one/deep/new").rename(arena.root / "jobs/one/deep/c")
    return lambda: None


def add_one(arena: Arena) -> Callable[[], None]:
    """A file has come."""
    (arena.root / "jobs/one/deep/new").write_bytes(b"new")
    return lambda: None


def hold_it(arena: Arena) -> Callable[[], None]:
    """Somebody has put a hold on one file."""
    arena.ledger.add_hold(b"jobs/one/deep/c", "file", until=None, reason="", by="me", now=arena.now)
    return lambda: None


def lease_below(arena: Arena) -> Callable[[], None]:
    """An application has leased a place in it that is not there yet."""
    arena.ledger.add_lease(b"jobs/one/later", "me", expires=int(arena.now) + 60, now=arena.now)
    return lambda: None


def lock_below(arena: Arena) -> Callable[[], None]:
    """Somebody holds a lock on a directory in it."""
    import fcntl

    fcntl.flock(os.open(arena.root / "jobs/one/empty", os.O_RDONLY), fcntl.LOCK_EX)
    return lambda: None


OBSTACLES: dict[str, tuple[Callable[[Arena], object], str]] = {
    "in use": (open_it, "in_use"),
    "written": (change_it, "too_young"),
    "replaced": (replace_it, "changed"),
    "a new file": (add_one, "new_file"),
    "held": (hold_it, "held"),
    "leased below": (lease_below, "leased"),
    "a lock below": (lock_below, "locked"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_one_file_keeps_them_all(arena: Arena, name: str) -> None:
    """What speaks against a file since it was planned speaks against its child, and against no other child."""
    stage, word = OBSTACLES[name]
    plan = whole(arena)
    before = arena.contents()
    descriptors = set(os.listdir("/proc/self/fd"))
    stage(arena)
    try:
        result = arena.run(plan)
    finally:
        for fd in set(os.listdir("/proc/self/fd")) - descriptors:
            if os.path.exists(f"/proc/self/fd/{fd}"):
                os.close(int(fd))
    assert of(b"jobs/one") <= arena.tree()
    assert result.kept == {word: 3}
    assert (result.files_removed, result.errors) == (3, ())
    untouched = {path for path in of(b"jobs/one") if name not in {"written", "replaced"} or path != b"jobs/one/deep/c"}
    assert {arena.contents()[path] for path in untouched} == {before[path] for path in untouched}
    assert not {path for path in arena.tree() if path.startswith((b"jobs/two", b"scratch"))}


@pytest.mark.parametrize(
    "window", ["file.leased", "rename.before", "rename.after", "directory.verified", "child.staged"]
)
@pytest.mark.parametrize("child", [b"jobs/one", b"scratch/x"])
def test_a_file_that_comes_in_between_keeps_it(
    arena: Arena, stage: Callable[..., Staged], window: str, child: bytes
) -> None:
    """Whenever it comes before the child's end is decided: what lies in the trash by then comes back."""
    came = os.path.join(os.fsencode(arena.root), child, b"came")

    def come(_name: bytes) -> None:
        with open(came, "wb") as stream:
            stream.write(b"new")

    stage(window, come)
    result = arena.run(whole(arena, child))
    assert arena.tree() == set(FILES) | {child + b"/came"}
    assert {path: found for path, found in arena.contents().items() if path in FILES} == {
        path: digest(content) for path, content in FILES.items()
    }
    assert (result.kept, result.files_removed, arena.in_trash()) == ({"new_file": len(of(child))}, 0, [])


def test_a_file_that_comes_at_the_last_moment_is_left_alone(arena: Arena, stage: Callable[..., Staged]) -> None:
    """After the last look only its directory stays, with it in it."""
    stage("child.decided", lambda _: arena.write("scratch/x/y/late", b"late") and None)
    result = arena.run(whole(arena, b"scratch/x"))
    assert (result.files_removed, arena.tree() - of(b"jobs/one") - of(b"jobs/two")) == (2, {b"scratch/x/y/late"})


def test_what_is_gone_already_is_no_obstacle(arena: Arena) -> None:
    """Somebody has deleted a file of it meanwhile: the rest goes."""
    plan = whole(arena, b"jobs/one")
    (arena.root / "jobs/one/a").unlink()
    result = arena.run(plan)
    assert (result.files_removed, result.kept) == (2, {"gone": 1})
    assert arena.tree() == set(FILES) - of(b"jobs/one")


def test_files_of_other_classes_stay_with_their_directory(tmp_path: Path) -> None:
    """A class takes what is its own; what an earlier one matches is neither young nor old to it."""
    kept = Rule("kept", ("jobs/*/manifest.json",))
    arena = filled(Arena(tmp_path / "store", rules=(kept, JOBS, SCRATCH)))
    arena.write("jobs/one/manifest.json")
    plan = Plan(
        tuple(one for one in whole(arena, b"jobs/one").actions if one.file.name != b"manifest.json"), {},
        truncated=False, refused=None, now=int(arena.now),
    )  # fmt: skip
    result = arena.run(plan)
    assert (result.files_removed, result.kept) == (3, {})
    assert {path for path in arena.tree() if path.startswith(b"jobs/one")} == {b"jobs/one/manifest.json"}
    arena.close()


def test_one_that_fails_brings_the_others_back(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of one file is that file's; the others say that they stay because of it."""
    real = rename_noreplace

    def failing(from_fd: int, name: bytes, to_fd: int, target: bytes) -> None:
        if name == b"c":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(from_fd, name, to_fd, target)

    monkeypatch.setattr("indexer.enforce.remove.rename_noreplace", failing)
    result = arena.run(whole(arena, b"jobs/one"))
    assert arena.tree() == set(FILES)
    assert result.kept == {"incomplete": 2}
    assert [path for path, _ in result.errors] == [b"jobs/one/deep/c"]
    assert result.exit_code == 1


def test_no_room_for_the_trash_and_still_it_goes(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk what is to be destroyed is looked at as a whole, and then goes file by file."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("indexer.enforce.remove.rename_noreplace", full)
    result = arena.run(whole(arena))
    assert arena.tree() == of(b"jobs/one") | of(b"jobs/two")
    assert (result.files_removed, len(result.errors)) == (2, 2)
    assert result.kept == {"incomplete": 2}


def test_interrupted_it_is_as_if_its_turn_had_not_come(arena: Arena, stage: Callable[..., Staged]) -> None:
    """Ctrl-C in the middle of a child brings it back, and the run says `interrupted`."""
    told: list[bool] = []
    stage("rename.after", lambda _: told.append(True))
    result = arena.run(whole(arena, b"jobs/one"), stop=lambda: bool(told))
    assert arena.tree() == set(FILES)
    assert (result.interrupted, result.files_removed, result.kept) == (True, 0, {"interrupted": 3})
    assert arena.outcomes(result.run) == {}


def test_files_beside_children_and_children_in_one_plan(arena: Arena) -> None:
    """What makes room keeps its order: the classes one after the other."""
    arena.write("jobs/loose")
    loose = arena.indexed(b"jobs/loose", JOBS)
    single = Remove(loose, JOBS, "expired", loose.mtime, loose.mtime, "trash")
    plan = whole(arena)
    both = Plan((*plan.actions, single), {}, truncated=False, refused=None, now=plan.now)
    assert arena.run(both).files_removed == 7
    assert arena.tree() == set()


def _die_at(step: int) -> Callable[..., None]:
    left = step

    def strike(_window: str, _name: bytes = b"") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def _survived(root: Path, step: int) -> bool:
    child = os.fork()
    if child == 0:
        try:
            arena = Arena(root, rules=(JOBS, SCRATCH))
            hooks.at = _die_at(step)
            arena.run(whole(arena))
            os._exit(0)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status)


def test_killed_in_any_window_each_child_is_whole(mount: Callable[..., Path]) -> None:
    """After a crash and a new start no child is in two places, and the next run does what is left."""
    scratch = mount("tmpfs")
    Arena(scratch / "template").close()
    for step in range(1, 1000):
        root = scratch / str(step)
        (root / ".indexer").mkdir(parents=True, mode=0o700)
        shutil.copyfile(scratch / "template/.indexer/ledger.db", root / ".indexer/ledger.db")
        filled(Arena(root, rules=(JOBS, SCRATCH))).close()
        ended = _survived(root, step)
        arena = Arena(root, rules=(JOBS, SCRATCH))
        assert arena.recover().errors == ()
        assert arena.ledger.unfinished() == []
        for child in CHILDREN:
            assert arena.tree() & of(child) in (set(), of(child)), (step, child)
        _all_known(arena, FILES)
        left = len(arena.tree())
        if left:
            assert arena.run(whole(arena)).files_removed == left
        assert arena.tree() == set()
        arena.restore([b""])
        assert {path for path in arena.tree() if path.startswith(b"jobs/")} == of(b"jobs/one") | of(b"jobs/two")
        arena.close()
        if ended:
            assert step > 60
            return
    raise AssertionError("the work never came to its end")


def _all_known(arena: Arena, files: Iterable[bytes]) -> None:
    contents = arena.contents()
    for path in files:
        if path in contents:
            continue
        action = arena.ledger.removed(path)
        assert action is not None
        assert action.outcome in {"trashed", "deleted"}
        assert action.outcome == "deleted" or digest(FILES[path]) in arena.in_trash()
