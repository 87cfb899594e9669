"""A run on a quiet tree: what it removes, what it counts, what it records."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import hooks
from indexer.enforce.result import RunResult
from indexer.policy.guards import Refusal
from indexer.syscalls.stat import stat_at
from tests.enforce.arena import FRAMES, NOW, UPLOADS, Arena, Staged, digest
from tests.program import REPOSITORY
from tests.trees import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable


def test_trash_keeps_the_content_and_the_ledger_knows_all_about_it(arena: Arena) -> None:
    """A trashed file lies in the trash, and its record says what, why, when, and until when it can come back."""
    path = arena.write("uploads/a.mp4", b"film")
    result = arena.run(arena.plan(path))

    assert (result.files_removed, result.bytes_freed, result.bytes_trashed, result.errors) == (1, 0, 4096, ())
    assert arena.tree() == set()
    assert arena.in_trash() == [digest(b"film")]
    action = arena.ledger.removed(path)
    assert action is not None
    assert (action.run, action.class_name, action.action, action.reason) == (result.run, "uploads", "trash", "expired")
    assert (action.outcome, action.size, action.at, action.restorable_until) == ("trashed", 4, NOW, NOW + 86400)
    assert arena.ledger.trash_totals() == (1, 4096)
    assert arena.removed == [(1, b"a.mp4")]
    trash = arena.root / ".indexer" / "trash"
    assert stat.S_IMODE(trash.stat().st_mode) == 0o700


def test_delete_frees_the_blocks_of_last_links_only(arena: Arena) -> None:
    """`bytes_freed` counts allocated bytes really returned: a file with a second name outside returns none."""
    arena.write("frames/one.jpg", b"x" * 5000)
    arena.write("frames/two.jpg", b"y" * 5000)
    os.link(arena.root / "frames/two.jpg", arena.root / "kept.jpg")
    result = arena.run(arena.plan("frames/one.jpg", "frames/two.jpg"))

    assert (result.files_removed, result.bytes_freed, result.bytes_trashed) == (2, 8192, 0)
    assert arena.tree() == {b"kept.jpg"}
    assert arena.in_trash() == []
    assert arena.outcomes(result.run) == {b"frames/one.jpg": ("deleted", None), b"frames/two.jpg": ("deleted", None)}


def test_both_names_of_a_hard_link_in_one_run_return_the_blocks_once(arena: Arena) -> None:
    """The blocks are counted where the last link goes."""
    arena.write("frames/one.jpg", b"x" * 5000)
    os.link(arena.root / "frames/one.jpg", arena.root / "frames/two.jpg")
    result = arena.run(arena.plan("frames/one.jpg", "frames/two.jpg"))

    assert (result.files_removed, result.bytes_freed) == (2, 8192)


def test_result_has_the_keys_of_the_contract(arena: Arena) -> None:
    """The JSON of a run has every key that other programs rely on."""
    path = arena.write("uploads/a.mp4")
    document = arena.run(arena.plan(path), index_age_seconds=7).as_json()

    assert document == {
        "run": 1, "dry_run": False, "files_removed": 1, "bytes_freed": 0, "bytes_trashed": 4096,
        "directories_removed": 0, "truncated": False, "index_age_seconds": 7, "kept": {}, "errors": [],
        "classes": {"uploads": {"files_removed": 1, "bytes_freed": 0, "bytes_trashed": 4096}}, "refused": None,
        "interrupted": False, "suspended": False, "purged_files": 0, "purged_bytes": 0, "watermarks": [],
        "notices": None, "runs": [1],
        "skipped": False,
    }  # fmt: skip
    row = arena.ledger.run(1)
    assert row is not None
    assert (row.kind, row.trigger, row.mode, row.files_removed, row.bytes_trashed) == (
        "expire",
        "command",
        "enforce",
        1,
        4096,
    )
    assert (row.started, row.finished, row.planned, row.user) == (
        NOW,
        NOW,
        1,
        "root" if os.geteuid() == 0 else row.user,
    )
    assert arena.ledger.removed_since(NOW) == {"uploads": (1, 4096)}
    assert arena.ledger.removed_since(NOW + 1) == {}


def test_dry_run_says_what_the_run_then_does(arena: Arena) -> None:
    """A dry run *is* the real run."""
    arena.write("uploads/a.mp4")
    arena.write("frames/b.jpg")
    plan = arena.plan()
    dry = RunResult.planned(plan)
    assert dry.dry_run
    assert arena.tree() == {b"uploads/a.mp4", b"frames/b.jpg"}
    real = arena.run(plan)

    assert replace(dry, dry_run=False, run=real.run) == replace(real, directories_removed=0)


def test_report_mode_removes_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`mode = "report"` refuses (exit 3), records the refusal, and touches nothing."""
    arena = Arena(tmp_path_factory.mktemp("store"), mode="report")
    path = arena.write("uploads/a.mp4")
    before = arena.contents()
    result = arena.run(arena.plan(path))

    assert (result.refused, result.exit_code, result.files_removed) == ("mode", 3, 0)
    assert result.remedy
    assert arena.contents() == before
    row = arena.ledger.run(1)
    assert row is not None
    assert (row.refused, row.finished) == ("mode", NOW)
    arena.close()


def test_a_refused_plan_does_nothing(arena: Arena) -> None:
    """A guard's objection stops the run before its first action."""
    path = arena.write("uploads/a.mp4")
    plan = replace(arena.plan(path), refused=Refusal("max_fraction", "too many", "look again"))
    result = arena.run(plan)

    assert (result.refused, result.message, result.remedy) == ("max_fraction", "too many", "look again")
    assert arena.tree() == {path}
    assert list(arena.ledger.actions(1)) == []


@pytest.mark.parametrize("action", ["trash", "delete"])
def test_any_legal_name_goes_and_comes_back(arena: Arena, action: str) -> None:
    """Names are bytes: newlines, escape sequences, invalid UTF-8 and 255 bytes are all removed and restored."""
    paths = [arena.write(b"uploads/" + name) for name in HOSTILE]
    before = arena.contents()
    result = arena.run(arena.plan(*paths, action=action))

    assert (result.files_removed, result.kept, result.errors) == (len(HOSTILE), {}, ())
    assert arena.tree() == set()
    assert set(arena.outcomes(result.run)) == set(paths)
    if action == "trash":
        assert len(arena.restore(run=result.run).restored) == len(HOSTILE)
        assert arena.contents() == before


def test_any_depth(arena: Arena) -> None:
    """A file 3,000 directories down (a path longer than PATH_MAX) is removed, and comes back."""
    names = [b"uploads", *[b"deep"] * 3000]
    fd = os.open(arena.root, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        deeper = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(os.open(b"leaf", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    directory = b"/".join(names)
    arena.write("uploads/template")
    plan = arena.plan("uploads/template")
    file = plan.actions[0].file._replace(directory=directory, name=b"leaf", identity=stat_at(fd, b"leaf").identity)
    plan = replace(plan, actions=(plan.actions[0]._replace(file=file),))
    try:
        result = arena.run(plan)
        assert (result.files_removed, result.kept, result.errors) == (1, {}, ())
        assert os.listdir(fd) == []
        assert [one.to for one in arena.restore(run=result.run).restored] == [directory + b"/leaf"]
        assert os.listdir(fd) == ["leaf"]
    finally:
        os.close(fd)
        subprocess.run(["rm", "-rf", arena.root / "uploads"], check=True)  # shutil.rmtree recurses, in Python


def test_symlinks_are_objects_and_never_followed(arena: Arena) -> None:
    """A symlink is removed itself; what it points to stays."""
    arena.write("target")
    os.makedirs(arena.root / "uploads")
    os.symlink("../target", arena.root / "uploads/link")
    result = arena.run(arena.plan("uploads/link"))

    assert result.files_removed == 1
    assert arena.tree() == {b"target"}
    assert arena.in_trash() == ["-> ../target"]
    arena.restore(run=result.run)
    assert os.readlink(arena.root / "uploads/link") == "../target"


def test_empty_directories_go_bottom_up_but_never_the_class_s_own(arena: Arena) -> None:
    """Directories that the run has emptied go, with those above that this empties, up to the class's own."""
    arena.write("frames/job-1/a/1.jpg")
    arena.write("frames/job-1/a/2.jpg")
    arena.write("frames/job-2/1.jpg")
    arena.write("frames/job-2/keep.txt")
    (arena.root / "frames/job-3").mkdir()
    result = arena.run(arena.plan("frames/job-1/a/1.jpg", "frames/job-1/a/2.jpg", "frames/job-2/1.jpg"))

    assert result.directories_removed == 2
    assert sorted(os.listdir(arena.root / "frames")) == ["job-2", "job-3"]
    removed = [(a.path, a.outcome) for a in arena.ledger.actions(1) if a.action == "rmdir"]
    assert removed == [(b"frames/job-1/a", "deleted"), (b"frames/job-1", "deleted")]


def test_the_class_s_own_directory_and_the_root_stay(arena: Arena) -> None:
    """`frames` itself stays when its last file goes."""
    arena.write("frames/1.jpg")
    result = arena.run(arena.plan("frames/1.jpg"))

    assert (result.files_removed, result.directories_removed) == (1, 0)
    assert (arena.root / "frames").is_dir()


def test_trash_classes_leave_directories_unless_asked(arena: Arena) -> None:
    """Without `remove_empty_dirs` no directory goes."""
    arena.write("uploads/user/a.mp4")
    assert arena.run(arena.plan()).directories_removed == 0
    assert (arena.root / "uploads/user").is_dir()


def test_an_interrupted_run_stops_between_files_and_says_so(arena: Arena) -> None:
    """`stop` ends the run: what was done is recorded, what was not begun is not, and the exit code is 130."""
    paths = [arena.write(f"uploads/{n:03}/f") for n in range(100)]
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done = count

    result = arena.run(arena.plan(*paths), stop=lambda: done >= 10, on_progress=progress)

    assert (result.interrupted, result.exit_code, result.files_removed, result.kept) == (
        True,
        130,
        10,
        {"interrupted": 90},
    )
    assert len(arena.tree()) == 90
    outcomes = arena.outcomes(result.run)
    assert len(outcomes) == 10
    assert set(outcomes.values()) == {("trashed", None)}
    row = arena.ledger.run(1)
    assert row is not None
    assert row.interrupted
    assert arena.run(arena.plan()).files_removed == 90


def test_a_run_gives_up_after_too_many_failures_in_a_row(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that fails every time is not asked a hundred thousand times."""
    import indexer.enforce.remove as recipe

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    paths = [arena.write(f"uploads/{n}/f") for n in range(20)]
    monkeypatch.setattr(recipe, "rename_noreplace", broken)
    result = arena.run(arena.plan(*paths), suspend_after=5)

    assert (result.suspended, len(result.errors), result.kept, result.exit_code) == (True, 5, {"suspended": 15}, 1)
    assert result.errors[0][1] == "EIO: Input/output error"
    assert len(arena.tree()) == 20


def test_holds_and_leases_are_absolute(arena: Arena) -> None:
    """A hold on a file, on a tree above, and an application's lease each keep a file, whatever the plan says."""
    for name in ("uploads/file", "uploads/tree/a", "uploads/tree-like", "uploads/job/x"):
        arena.write(name)
    plan = arena.plan()
    arena.ledger.add_hold(b"uploads/file", "file", until=None, reason="court", by="me", now=NOW)
    arena.ledger.add_hold(b"uploads/tree", "tree", until=NOW + 10, reason="", by="me", now=NOW)
    arena.ledger.add_hold(b"uploads/tree-like", "tree", until=NOW, reason="over", by="me", now=NOW)
    arena.ledger._connection.execute("INSERT INTO lease VALUES (1, 'uploads/job', NULL, 'app', ?, ?)", (NOW + 5, NOW))
    result = arena.run(plan)

    assert result.kept == {"held": 2, "leased": 1}
    assert arena.tree() == {b"uploads/file", b"uploads/tree/a", b"uploads/job/x"}


def test_rules_of_the_tests_are_what_they_seem() -> None:
    """The two classes differ in their action, which many tests rely on."""
    assert (UPLOADS.action, FRAMES.action) == ("trash", "delete")


def test_directories_that_have_long_been_empty(arena: Arena) -> None:
    """A directory that the index knows to be empty goes once nothing has come or gone in it for min_age."""
    for name in ("frames/old/inner", "frames/young", "frames/full", "elsewhere/old"):
        (arena.root / name).mkdir(parents=True)
    arena.write("frames/full/x.jpg")
    for name in ("frames/old/inner", "frames/old", "frames/full", "elsewhere/old", "frames"):
        os.utime(arena.root / name, (NOW - 3601, NOW - 3601))
    os.utime(arena.root / "frames/young", (NOW - 3599, NOW - 3599))
    empty = dict.fromkeys((b"frames/old/inner", b"frames/young", b"frames/full", b"elsewhere/old", b"frames"), FRAMES)
    result = arena.run(replace(arena.plan("frames/full/x.jpg"), actions=()), empty=empty)

    assert result.directories_removed == 2
    assert sorted(os.listdir(arena.root / "frames")) == ["full", "young"]
    assert (arena.root / "elsewhere/old").is_dir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_files_in_hand(arena: Arena, stage: Callable[..., Staged], number: int) -> None:
    """A signal in the middle of a file neither loses it nor raises: the run ends consistently, with exit code 130."""
    paths = [arena.write(f"frames/{n:03}/f") for n in range(50)]
    before = signal.getsignal(number)
    stage("rename.after", lambda _: os.kill(os.getpid(), number))
    result = arena.run(arena.plan(*paths))

    assert (result.interrupted, result.exit_code, result.files_removed) == (True, 130, 1)
    assert signal.getsignal(number) is before
    assert len(arena.tree()) == 49
    assert arena.ledger.unfinished() == []


@pytest.mark.parametrize("window", ["file.pinned", "file.leased", "rename.after", "file.verified", "unlink.before"])
def test_a_fault_of_our_own_loses_nothing(arena: Arena, stage: Callable[..., Staged], window: str) -> None:
    """Whatever is raised in the middle of the recipe, what was renamed is put back, and the record is complete."""
    paths = [arena.write(f"frames/f{n}") for n in range(3)]

    def fault(_name: bytes) -> None:
        raise RuntimeError("a fault")

    stage(window, fault)
    with pytest.raises(RuntimeError, match="a fault"):
        arena.run(arena.plan(*paths))

    assert arena.tree() == set(paths)
    assert arena.in_trash() == []
    assert arena.ledger.unfinished() == []
    assert arena.run(arena.plan(*paths)).files_removed == 3


def test_every_window_has_a_name_and_every_name_a_window() -> None:
    """The stage knows all windows: those listed are those in the code."""
    code = "".join(path.read_text() for path in (REPOSITORY / "indexer/enforce").glob("*.py"))
    assert set(re.findall(r'hooks\.at\("([a-z.]+)"', code)) == set(hooks.WINDOWS)


def test_the_room_can_be_imported_elsewhere() -> None:
    """On a platform without leases, O_PATH and renameat2 importing works, and a run is refused with the reason."""
    script = """
import ctypes, fcntl, os, signal, sys
import peewee
for name in ("O_PATH", "O_NOATIME", "posix_fallocate"):
    delattr(os, name)
for name in ("F_SETLEASE", "F_GETLEASE"):
    delattr(fcntl, name)
sys.platform = "darwin"
from indexer.enforce import context, recover, restore, run, trash
from indexer.policy.plan import Plan
class Store:
    class config:
        class store:
            mode = "enforce"
print(context.refusal_of(Plan((), {}, False, None, 0), Store)[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (done.stdout, done.stderr) == ("platform\n", "")
