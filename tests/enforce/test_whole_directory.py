"""A directory that goes in one piece: it vanishes at once, whatever differs brings it back, and nothing is lost."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.enforce import hooks
from indexer.enforce.patience import Patience
from indexer.syscalls.rename import rename_noreplace
from tests.enforce.arena import FRAMES, UPLOADS, Arena, Staged, digest
from tests.exchange import exchange

RULES = (
    replace(UPLOADS, remove_empty_dirs=True, whole_directories=True),
    replace(FRAMES, whole_directories=True),
)
JOB = b"uploads/job"
FILES = (JOB + b"/a", JOB + b"/b", JOB + b"/c")
PRECIOUS = (b"precious/file", b"precious/job/a", b"other/job/a")


@pytest.fixture
def scratch(mount: Callable[..., Path]) -> Path:
    """Return a filesystem in memory: what is asked here does not depend on which one it is."""
    return mount("tmpfs")


@pytest.fixture
def arena(scratch: Path) -> Iterator[Arena]:
    """Return a store with one directory that goes, and what must not."""
    made = _store(scratch / "store")
    yield made
    made.close()


def _store(root: Path) -> Arena:
    made = Arena(root, rules=RULES)
    for path in (*FILES, *PRECIOUS):
        made.write(path)
    return made


class _Windows:
    """Notes what is passed, and what the tree shows there."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.tree: dict[str, set[bytes]] = {}

    def __call__(self, window: str, _name: bytes = b"") -> None:
        """Stand in for `hooks.at`."""
        if window not in self.tree:  # by names alone: to open a file that is leased would wait for the run
            walked = [(folder, name) for folder, _, names in os.walk(os.fsencode(self.arena.root)) for name in names]
            paths = (os.path.relpath(os.path.join(*one), os.fsencode(self.arena.root)) for one in walked)
            self.tree[window] = {path for path in paths if not path.startswith(b".indexer/")}


@pytest.mark.parametrize("action", ["trash", "delete"])
def test_nobody_sees_half_of_it(arena: Arena, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """Up to the rename all of its files are there, after it none; the run counts files and directory as always."""
    windows = _Windows(arena)
    monkeypatch.setattr(hooks, "at", windows)
    allocated = sum((arena.root / os.fsdecode(path)).stat().st_blocks * 512 for path in FILES)
    result = arena.run(arena.plan(*FILES, action=action))
    assert (result.bytes_trashed, result.bytes_freed) == ((allocated, 0) if action == "trash" else (0, allocated))
    assert windows.tree["rename.before"] == set(FILES) | set(PRECIOUS)
    assert windows.tree["directory.renamed"] == set(PRECIOUS)
    assert (result.files_removed, result.directories_removed, result.kept, result.errors) == (3, 1, {}, ())
    assert arena.outcomes(result.run)[JOB] == ("deleted", None)
    assert len(arena.in_trash()) == (3 if action == "trash" else 0)


def test_what_it_was_comes_back(arena: Arena) -> None:
    """`restore` makes the directory again with its mode and time, and each file is what it was."""
    folder = arena.root / os.fsdecode(JOB)
    os.chmod(folder, 0o2751)
    os.utime(folder, (1, 1))
    before = arena.contents()
    arena.run(arena.plan(*FILES))
    assert arena.restore([JOB]).errors == ()
    assert {path: found for path, found in arena.contents().items() if path in before} == before
    assert (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_mtime) == (0o2751, 1)


def _never(windows: dict[str, set[bytes]]) -> bool:
    return "directory.renamed" not in windows


@pytest.mark.parametrize(
    "reason", ["off", "not planned", "deeper", "own", "hard links", "in use", "held", "locked", "too many"]
)
def test_only_where_every_entry_goes(scratch: Path, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Where one entry stays, or the option is off, or not all can be held, files go one by one as ever."""
    arena = _store(scratch / "store")
    files, kept = list(FILES), 0
    held: list[int] = []
    if reason == "off":
        arena.close()
        arena = Arena(scratch / "store", rules=(replace(RULES[0], whole_directories=False), RULES[1]))
    elif reason == "not planned":
        arena.write(JOB + b"/young")
    elif reason == "deeper":
        (arena.root / "uploads/job/deeper").mkdir()
    elif reason == "own":
        for path in FILES:
            os.rename(arena.root / os.fsdecode(path), arena.root / "uploads" / os.fsdecode(path[-1:]))
        (arena.root / "uploads/job").rmdir()
        files = [b"uploads/" + path[-1:] for path in FILES]
    elif reason == "hard links":
        os.link(arena.root / "uploads/job/a", arena.root / "uploads/job/d")
        files.append(JOB + b"/d")
    elif reason == "in use":
        held.append(os.open(arena.root / "uploads/job/b", os.O_RDONLY))
        kept = 1
    elif reason == "held":
        arena.ledger.add_hold(JOB + b"/b", "file", until=None, reason="", by="me", now=arena.now)
        kept = 1
    elif reason == "locked":
        held.append(os.open(arena.root / "uploads/job", os.O_RDONLY))
        fcntl.flock(held[0], fcntl.LOCK_SH)
        kept = 3
    elif reason == "too many":
        monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    windows = _Windows(arena)
    monkeypatch.setattr(hooks, "at", windows)
    result = arena.run(arena.plan(*files))
    assert _never(windows.tree)
    assert (result.files_removed, sum(result.kept.values()), result.errors) == (len(files) - kept, kept, ())
    assert len(arena.outcomes(result.run)) >= len(files)
    for fd in held:
        os.close(fd)
    arena.close()


class _Inside:
    """Somebody who has had the directory open since before: he reaches its names wherever it is."""

    def __init__(self, arena: Arena) -> None:
        self.root = arena.root
        self.fd = os.open(arena.root / os.fsdecode(JOB), os.O_PATH | os.O_DIRECTORY)
        self.precious = os.open(arena.root / "precious", os.O_PATH | os.O_DIRECTORY)

    def close(self) -> None:
        """Leave."""
        os.close(self.fd)
        os.close(self.precious)

    def new(self) -> None:
        """Make a file."""
        os.close(os.open(b"late", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=self.fd))

    def new_directory(self) -> None:
        """Make a directory with a file."""
        os.mkdir(b"deeper", dir_fd=self.fd)
        os.close(os.open(b"deeper/late", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=self.fd))

    def swapped(self) -> None:
        """Exchange an entry for something precious."""
        exchange(self.fd, b"b", self.precious, b"file")

    def replaced(self) -> None:
        """Rename something precious over an entry, which is this somebody's own loss."""
        os.rename(b"b", b"mine", src_dir_fd=self.fd, dst_dir_fd=self.precious)
        os.rename(b"file", b"b", src_dir_fd=self.precious, dst_dir_fd=self.fd)

    def taken(self) -> None:
        """Take an entry away."""
        os.rename(b"b", b"mine", src_dir_fd=self.fd, dst_dir_fd=self.precious)

    def opened(self) -> None:
        """Open one: the lease is broken."""
        try:
            os.open(b"b", os.O_RDONLY | os.O_NONBLOCK, dir_fd=self.fd)
        except BlockingIOError:
            return

    def name_taken(self) -> None:
        """Make another directory of its name."""
        (self.root / "uploads/job").mkdir(exist_ok=True)
        with (self.root / "uploads/job/a").open("xb") as stream:
            stream.write(b"newcomer")

    def name_taken_and_new(self) -> None:
        """Do both, so that it cannot come back."""
        self.name_taken()
        self.new()

    def parent_moved(self) -> None:
        """Move its parent to another class."""
        os.rename(self.root / "uploads", self.root / "other/uploads")

    def another_in_its_place(self) -> None:
        """Exchange it for another directory."""
        fd = os.open(self.root, os.O_PATH)
        exchange(fd, JOB, fd, b"precious/job")
        os.close(fd)


ATTACKS = [name for name in vars(_Inside) if not name.startswith("_") and name != "close"]
BETWEEN = (
    "ledger.after",
    "file.leased",
    "rename.before",
    "directory.renamed",
    "directory.checked",
    "rename.after",
    "file.verified",
    "unlink.before",
    "unlink.after",
    "rmdir.before",
    "rmdir.after",
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("action", ["trash", "delete"])
def test_every_attack_from_within(scratch: Path, monkeypatch: pytest.MonkeyPatch, attack: str, action: str) -> None:
    """Nothing but the planned files goes, each with its record, in every window; the rest has its place or a row."""
    struck = 0
    for number, window in enumerate(BETWEEN):
        arena = _store(scratch / str(number))
        made = Counter(arena.contents().values())
        inside = _Inside(arena)

        def strike(_: bytes, inside: _Inside = inside) -> None:
            try:
                getattr(inside, attack)()
            except OSError:
                return  # what is not there any more is not there for anybody

        hook = Staged(window, strike)
        plan = arena.plan(*FILES, action=action)
        monkeypatch.setattr(hooks, "at", hook)
        result = arena.run(plan)
        monkeypatch.setattr(hooks, "at", lambda *_: None)
        inside.close()
        struck += hook.left == 0
        _accounted(arena, made, f"{attack} in {window}, {action}")
        assert sum(path in FILES for path in arena.outcomes(result.run)) == len(FILES), window
        arena.close()
    assert struck >= len(BETWEEN) - 2  # nothing is unlinked where all is kept


def _accounted(arena: Arena, made: Counter[str], what: str) -> None:
    lost = made - Counter(arena.contents().values())
    own = {digest(b"I am " + path): path for path in FILES}
    assert set(lost) <= set(own), what
    for content in lost:
        removed = arena.ledger.removed(own[content])
        assert removed is not None, what
        assert removed.outcome == "deleted", what
    folder = arena.root / ".indexer/trash"
    recorded = {str(action.trash_name): action for action in arena.ledger.trash()}
    assert set(os.listdir(folder) if folder.exists() else ()) == set(recorded), what
    for name, action in recorded.items():
        assert (folder / name).lstat().st_ino == action.identity.inode, what
    assert arena.ledger.unfinished() == [], what


def test_what_cannot_come_back_can_be_restored_and_emptied(arena: Arena, stage: Callable[..., Staged]) -> None:
    """With its name taken, what somebody made in it stays in the trash with the directory: `restore` puts it beside."""
    inside = _Inside(arena)
    stage("rmdir.before", lambda _: inside.name_taken_and_new())
    result = arena.run(arena.plan(*FILES, action="delete"))
    inside.close()
    assert (result.files_removed, result.exit_code) == (3, 1)
    assert [path for path, _ in result.errors] == [JOB]
    assert arena.outcomes(result.run)[JOB][0] == "stray"
    assert [one.to for one in arena.restore([JOB]).restored] == [JOB + b".restored-1"]
    assert (arena.root / "uploads/job.restored-1/late").is_file()


def test_a_stray_directory_goes_with_the_whole_trash_only(arena: Arena, stage: Callable[..., Staged]) -> None:
    """It is never destroyed by age; who empties all of the trash means it too."""
    inside = _Inside(arena)

    def strike(_: bytes) -> None:
        inside.name_taken()
        inside.new_directory()

    stage("rmdir.before", strike)
    arena.run(arena.plan(*FILES, action="delete"))
    inside.close()
    arena.now += 10**9
    assert arena.purge().files_removed == 0
    assert len(os.listdir(arena.root / ".indexer/trash")) == 1
    purged = arena.purge(everything=True)
    assert (purged.files_removed, purged.errors) == (1, ())
    assert os.listdir(arena.root / ".indexer/trash") == []


def test_one_that_differs_goes_back_whole_and_the_rest_one_by_one(arena: Arena, stage: Callable[..., Staged]) -> None:
    """A reader that comes in between has its file in its place; the others are due, and go."""
    inside = _Inside(arena)
    stage("directory.renamed", lambda _: inside.opened())
    result = arena.run(arena.plan(*FILES))
    assert (result.files_removed, result.directories_removed, result.errors) == (3, 1, ())
    outcomes = arena.outcomes(result.run)
    assert outcomes[JOB] == ("deleted", None)
    assert [outcomes[path][0] for path in FILES] == ["trashed"] * 3
    inside.close()


DEATHS = (
    "ledger.after",
    "directory.renamed",
    "directory.checked",
    "rename.after",
    "unlink.after",
    "rmdir.before",
    "rmdir.after",
    "sync.before",
)


@pytest.mark.parametrize("action", ["trash", "delete"])
@pytest.mark.parametrize("taken", [False, True])
def test_killed_in_every_window(scratch: Path, action: str, taken: bool) -> None:
    """After the next start all is in its place, in the trash with a row, or recorded as gone; its name taken or not."""
    for number, window in enumerate(DEATHS):
        root = scratch / str(number)
        arena = _store(root)
        plan = arena.plan(*FILES, action=action)
        child = os.fork()
        if child == 0:
            try:
                hooks.at = Staged(window, lambda _: os.kill(os.getpid(), signal.SIGKILL))
                arena.run(plan)
            finally:
                os._exit(2)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) == (window != "unlink.after" or action == "delete")
        arena.close()
        if taken and not (root / "uploads/job").exists():
            (root / "uploads/job").mkdir()
            (root / "uploads/job/b").write_bytes(b"newcomer")
        arena = Arena(root, rules=RULES)
        arena.recover()
        made = Counter(digest(b"I am " + path) for path in (*FILES, *PRECIOUS))
        folder = root / ".indexer/trash"
        rows = {str(action.trash_name) for action in arena.ledger.trash()}
        assert set(os.listdir(folder) if folder.exists() else ()) == rows, window
        lost = made - Counter(arena.contents().values())
        gone = {path: arena.ledger.removed(path) for path in FILES}
        assert set(lost) == {
            digest(b"I am " + path) for path, row in gone.items() if row and row.outcome in {"deleted", "unknown"}
        }, window
        assert arena.restore([b""]).errors == () or not rows
        assert not os.listdir(folder) if folder.exists() else True, window
        arena.close()


def test_a_fault_in_the_policy_leaves_it_in_its_place(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expects finds the directory back, whole."""

    def fault(window: str, _name: bytes = b"") -> None:
        if window == "directory.checked":
            raise ZeroDivisionError

    before = arena.contents()
    plan = arena.plan(*FILES, action="delete")
    monkeypatch.setattr(hooks, "at", fault)
    with pytest.raises(ZeroDivisionError):
        arena.run(plan)
    assert arena.contents() == before


def test_patience_is_for_the_way_back_too(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that passes does not make a stray of a directory."""
    real, failures = rename_noreplace, [16]

    def busy(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
        if failures and target == b"job":
            raise OSError(failures.pop(), "busy")
        real(source_fd, source, target_fd, target)

    monkeypatch.setattr("indexer.enforce.whole_directory.rename_noreplace", busy)
    inside = _Inside(arena)
    monkeypatch.setattr(hooks, "at", Staged("directory.renamed", lambda _: inside.new()))
    result = arena.run(arena.plan(*FILES), patience=Patience(arena.slept.append))
    assert (failures, result.files_removed, result.errors) == ([], 3, ())
    assert (arena.root / "uploads/job/late").is_file()
    inside.close()
