"""The N-th system call fails, for every N until the work passes, once or from there on: nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import indexer.enforce
from indexer.enforce import hooks, remove, restore, whole_directory
from indexer.enforce.database import Database
from indexer.enforce.schema import Error
from indexer.errors import IndexerError, LedgerError
from indexer.rules import Rule
from indexer.syscalls import lease
from indexer.syscalls.rename import rename_noreplace
from tests.enforce.arena import FRAMES, UPLOADS, Arena, digest

FILES = {b"uploads/job/a": b"A", b"uploads/job/b": b"B", b"frames/job/c": b"C", b"frames/job/d": b"D"}
ROOMS = [import_module(f"indexer.enforce.{one.name}") for one in iter_modules(indexer.enforce.__path__)]
WRAPPED = ("rename_noreplace", "open_beneath", "stat_at", "stat_fd", "sync_filesystem", "locked")
CALLS = ("open", "unlink", "rmdir", "mkdir", "stat", "fstat", "scandir", "listdir", "getxattr")

Work = Callable[[Arena], object]


class Faulty:
    """Makes the `step`-th call of the recipe fail with `code`, or (`lasting`) every call from there on."""

    def __init__(self, step: int, code: int, *, lasting: bool) -> None:
        self.left = step
        self.code = code
        self.lasting = lasting
        self.struck = False

    def wrap(self, function: Any) -> Any:
        """Return the function that fails in its turn."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0 or (self.left < 0 and self.lasting):
                self.struck = True
                raise OSError(self.code, os.strerror(self.code))
            return function(*arguments, **named)

        return call

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand between the recipe and the system."""
        for name in CALLS:
            patch.setattr(os, name, self.wrap(getattr(os, name)))
        for name in ("take", "held"):
            patch.setattr(lease, name, self.wrap(getattr(lease, name)))
        for room in ROOMS:
            for name in WRAPPED:
                if hasattr(room, name):
                    patch.setattr(room, name, self.wrap(getattr(room, name)))


def _faults(
    folder: Path, prepare: Work, work: Work, code: int, *, lasting: bool, rules: tuple[Rule, ...] = (UPLOADS, FRAMES)
) -> Iterator[tuple[Arena, Exception | None]]:
    """Yield the store after `work` with each call failing in turn, and what that raised, until nothing was struck."""
    for step in range(1, 2000):
        arena = Arena(folder / str(step), rules=rules)
        for path, content in FILES.items():
            arena.write(path, content)
        prepare(arena)
        faulty = Faulty(step, code, lasting=lasting)
        raised: Exception | None = None
        with pytest.MonkeyPatch.context() as patch:
            faulty.install(patch)
            try:
                work(arena)
            except (OSError, IndexerError) as error:
                raised = error
        yield arena, raised
        arena.close()
        if not faulty.struck:
            return
    raise AssertionError("the work never came to its end")


def _nothing_lost(arena: Arena) -> None:
    arena.recover()
    assert arena.ledger.unfinished() == []
    contents = arena.contents()
    trashed = {action.path: action for action in arena.ledger.trash()}
    for path, content in FILES.items():
        if contents.get(path) == digest(content):
            assert path not in trashed
            continue
        action = arena.ledger.removed(path)
        assert action is not None, path
        if action.in_trash:
            assert contents[b".indexer/trash/" + str(action.trash_name).encode()] == digest(content)
        else:
            assert action.outcome in {"deleted", "unknown", "purged"}
    folder = arena.root / ".indexer/trash"
    assert {str(action.trash_name) for action in trashed.values()} == set(os.listdir(folder) if folder.exists() else ())


CASES = [
    (errno.EIO, False), (errno.ENOSPC, False), (errno.EMFILE, False), (errno.EACCES, False), (errno.ESTALE, False),
    (errno.EBUSY, False), (errno.EPERM, False), (errno.EAGAIN, False), (errno.EROFS, False),
    (errno.EIO, True), (errno.EROFS, True), (errno.ENOSPC, True), (errno.ESTALE, True), (errno.EBUSY, True),
    (errno.EPERM, True), (errno.EACCES, True), (errno.EAGAIN, True), (errno.EMFILE, True),
]  # fmt: skip


@pytest.mark.parametrize(("code", "lasting"), CASES)
def test_removal(mount: Callable[..., Path], code: int, lasting: bool) -> None:
    """Every failing call costs at most the files it concerns; the next run does what is left."""
    folder = mount("tmpfs")
    steps = 0
    for arena, raised in _faults(folder, lambda _: None, lambda arena: arena.run(arena.plan()), code, lasting=lasting):
        steps += 1
        if raised is not None:
            assert isinstance(raised, OSError)  # before the run began
        _nothing_lost(arena)
        arena.run(arena.plan())
        assert arena.tree() == set()
        arena.restore([b""])
    assert steps > 50


IN_ONE_PIECE = (
    replace(UPLOADS, remove_empty_dirs=True, whole_directories=True),
    replace(FRAMES, whole_directories=True),
)


@pytest.mark.parametrize(
    ("code", "lasting"),
    [(errno.EIO, False), (errno.ENOSPC, False), (errno.EMFILE, False), (errno.EPERM, True), (errno.EBUSY, True)],
)
def test_removal_in_one_piece(mount: Callable[..., Path], code: int, lasting: bool) -> None:
    """The same for directories that go in one piece: what cannot come back is in the trash with its row."""

    def work(arena: Arena) -> None:
        arena.run(arena.plan())

    steps = 0
    for arena, _ in _faults(mount("tmpfs"), lambda _: None, work, code, lasting=lasting, rules=IN_ONE_PIECE):
        steps += 1
        _nothing_lost(arena)
        arena.run(arena.plan())
        assert arena.tree() == set()
        arena.restore([b""])
    assert steps > 60


@pytest.mark.parametrize(("code", "lasting"), CASES)
def test_restore(mount: Callable[..., Path], code: int, lasting: bool) -> None:
    """A restore that meets an error leaves the file in the trash; the next one brings it back."""

    def prepare(arena: Arena) -> None:
        arena.run(arena.plan(action="trash"))

    folder = mount("tmpfs")
    for arena, _ in _faults(folder, prepare, lambda arena: arena.restore([b""]), code, lasting=lasting):
        _nothing_lost(arena)
        arena.restore([b""])
        assert arena.tree() == set(FILES)


@pytest.mark.parametrize(("code", "lasting"), CASES)
def test_purge(mount: Callable[..., Path], code: int, lasting: bool) -> None:
    """A purge that meets an error leaves the rest in the trash, recorded."""

    def prepare(arena: Arena) -> None:
        arena.run(arena.plan(action="trash"))

    folder = mount("tmpfs")
    for arena, _ in _faults(folder, prepare, lambda arena: arena.purge(everything=True), code, lasting=lasting):
        _nothing_lost(arena)
        arena.purge(everything=True)
        assert os.listdir(arena.root / ".indexer/trash") == []


@pytest.mark.parametrize("lasting", [False, True])
def test_a_ledger_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool) -> None:
    """Without a durable record nothing is touched; what was done before is settled at the next start."""
    whole = Database._transaction
    for step in range(1, 20):
        arena = Arena(tmp_path / f"{lasting}{step}")
        for path, content in FILES.items():
            arena.write(path, content)
        plan = arena.plan()
        left = step
        struck = False

        def failing(self: Database, work: Any) -> Any:
            nonlocal left, struck
            left -= 1
            if left == 0 or (lasting and left < 0):
                struck = True
                raise Error("disk I/O error")
            return whole(self, work)

        monkeypatch.setattr(Database, "_transaction", failing)
        raised = False
        try:
            arena.run(plan)
        except LedgerError:
            raised = True
        monkeypatch.setattr(Database, "_transaction", whole)
        assert raised == struck
        if step <= 2:
            assert arena.tree() == set(FILES)
        _nothing_lost(arena)
        arena.run(arena.plan())
        assert arena.tree() == set()
        arena.close()
        if not struck:
            return
    raise AssertionError("the run never came to its end")


PASSING = {errno.EIO: [0.05], errno.ESTALE: [0.05], errno.EBUSY: [0.05], errno.EAGAIN: [0.05]}


@pytest.mark.parametrize(("code", "waited"), PASSING.items())
def test_an_error_that_passes_costs_a_moment_and_no_file(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, code: int, waited: list[float]
) -> None:
    """EIO, ESTALE, EBUSY and EAGAIN once: the file is tried again after 50 ms, and goes."""
    for path, content in FILES.items():
        arena.write(path, content)
    plan = arena.plan()
    faulty = Faulty(2, code, lasting=False)
    monkeypatch.setattr(remove, "rename_noreplace", faulty.wrap(rename_noreplace))
    result = arena.run(plan)
    assert (result.files_removed, result.errors, arena.slept) == (4, (), waited)
    monkeypatch.setattr(restore, "rename_noreplace", Faulty(1, code, lasting=False).wrap(rename_noreplace))
    assert len(arena.restore([b"uploads"]).restored) == 2
    arena.run(arena.plan())
    monkeypatch.setattr(os, "unlink", Faulty(1, code, lasting=False).wrap(os.unlink))
    assert arena.purge(everything=True).files_removed == 2
    assert arena.slept == waited * 3


LASTING = {errno.EIO: [0.05], errno.ESTALE: [0.05, 0.25, 1.0], errno.EBUSY: [0.05, 0.25, 1.0], errno.EPERM: []}


@pytest.mark.parametrize(("code", "waited"), LASTING.items())
def test_an_error_that_lasts_is_named_and_the_rest_goes(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, code: int, waited: list[float]
) -> None:
    """One file that never goes is tried as often as its errno deserves, then named; every other one goes."""
    for path, content in FILES.items():
        arena.write(path, content)
    plan = arena.plan()

    def failing(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
        if source == b"b":
            raise OSError(code, os.strerror(code))
        rename_noreplace(source_fd, source, target_fd, target)

    monkeypatch.setattr(remove, "rename_noreplace", failing)
    result = arena.run(plan)
    assert (result.files_removed, arena.slept) == (3, waited)
    assert result.errors == ((b"uploads/job/b", f"{errno.errorcode[code]}: {os.strerror(code)}"),)
    assert arena.tree() == {b"uploads/job/b"}


def test_a_run_waits_half_a_minute_in_all_and_gives_up_after_many_failures(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead server costs at most the run's patience, then `suspend_errors` failures in a row, not days."""
    for number in range(300):
        arena.write(f"uploads/{number}/a")
    plan = arena.plan()

    def failing(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(remove, "rename_noreplace", failing)
    result = arena.run(plan)
    assert (result.suspended, len(result.errors), result.kept) == (True, 100, {"suspended": 200})
    assert sum(arena.slept) <= 30


@pytest.mark.parametrize("works_after_all", [True, False])
def test_a_rename_that_reports_an_error_and_happened(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, works_after_all: bool
) -> None:
    """A file server that lost its answer: the object under the trash name is taken for what it is, and recorded."""
    path = arena.write("uploads/a", b"A")
    plan = arena.plan()

    def lying(*arguments: Any) -> None:
        rename_noreplace(*arguments)
        code = errno.ENOENT if works_after_all else errno.EIO
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(remove, "rename_noreplace", lying)
    result = arena.run(plan)
    assert (result.files_removed, result.errors) == (1, ())
    assert arena.in_trash() == [digest(b"A")]
    monkeypatch.setattr(restore, "rename_noreplace", lying)
    assert [one.path for one in arena.restore([path]).restored] == [path]
    assert arena.tree() == {path}


def test_a_close_that_reports_an_error(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem in user space may refuse its flush: what was only read has lost nothing, and the run goes on."""
    paths = {arena.write(f"uploads/{number}", b"%d" % number) for number in range(3)}
    plan = arena.plan()
    whole = os.close

    def close(fd: int) -> None:
        # A descriptor of O_PATH has no file operations, so nothing is flushed with it.
        regular = stat.S_ISREG(os.fstat(fd).st_mode) and not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH
        whole(fd)
        if regular:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close)
    result = arena.run(plan)
    monkeypatch.setattr(os, "close", whole)
    assert (result.files_removed, result.errors) == (3, ())
    assert {one.path for one in arena.restore([b""]).restored} == paths


@pytest.mark.parametrize("forth", [True, False])
def test_a_directory_s_rename_that_reports_an_error_and_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forth: bool
) -> None:
    """The same for a directory in one piece: on its way, and on its way back."""
    arena = Arena(tmp_path, rules=IN_ONE_PIECE)
    paths = [arena.write(f"uploads/job/{name}", name.encode()) for name in "abc"]
    lies: list[bytes] = []

    def lying(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
        rename_noreplace(source_fd, source, target_fd, target)
        if (source if forth else target) == b"job" and not lies:
            lies.append(source)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def late(window: str, _name: bytes = b"") -> None:
        if window == "directory.renamed" and not forth:
            trash = arena.root / ".indexer/trash"
            (trash / os.listdir(trash)[0] / "late").write_bytes(b"late")

    plan = arena.plan(*paths)
    monkeypatch.setattr(whole_directory, "rename_noreplace", lying)
    monkeypatch.setattr(hooks, "at", late)
    result = arena.run(plan)
    assert len(lies) == 1
    assert (result.files_removed, result.errors) == (3, ())
    assert arena.tree() == (set() if forth else {b"uploads/job/late"})
    assert result.directories_removed == forth
    arena.close()
