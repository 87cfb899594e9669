"""Races, staged: somebody swaps, opens, moves or locks at each window of the recipe, and nothing wrong is destroyed.

Each test looks at the content of everything there is, in the tree and in the trash, afterwards.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from indexer.enforce import hooks
from tests.capabilities import needs
from tests.enforce.arena import Arena, Staged, digest
from tests.exchange import exchange

Stage = Callable[..., Staged]

BEFORE_PIN = ("run.begun", "ledger.after", "directory.opened", "directory.locked")
BEFORE_RENAME = ("file.pinned", "file.examined", "file.reopened", "file.leased", "rename.before")
BEFORE_VERIFY = ("rename.after",)
ACTIONS = ("trash", "delete")

VICTIM = b"uploads/job/victim"
DECOY = b"uploads/job/decoy"


def _as(kind: str, arena: Arena) -> Callable[[bytes], None]:
    """Return an attack that exchanges the victim with an object of another kind that lies at `decoy`."""
    root = os.fsencode(arena.root)
    decoy = os.path.join(root, DECOY)
    if kind == "file":
        arena.write(DECOY, b"precious")
    elif kind == "symlink":
        arena.write("precious", b"precious")
        os.symlink("../../precious", decoy)
    elif kind == "directory":
        arena.write(DECOY + b"/inside", b"precious")
    elif kind == "fifo":
        os.mkfifo(decoy)
    else:
        arena.write("precious", b"precious")
        os.link(os.path.join(root, b"precious"), decoy)

    def attack(_name: bytes) -> None:
        here = os.open(os.path.join(root, b"uploads/job"), os.O_PATH)
        exchange(here, b"victim", here, b"decoy")
        os.close(here)

    return attack


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("kind", ["file", "symlink", "directory", "fifo", "hard link"])
@pytest.mark.parametrize("window", BEFORE_PIN + BEFORE_RENAME)
def test_leaf_swapped_before_the_rename(arena: Arena, stage: Stage, window: str, kind: str, action: str) -> None:
    """Another object under the victim's name is never destroyed, whatever it is and whenever it came.

    Before the pin it is seen at once; after it, it may come into the trash and is put back. The victim, elsewhere now,
    stays too.
    """
    arena.write(VICTIM, b"the victim")
    attack = _as(kind, arena)
    plan = arena.plan(VICTIM, action=action)
    everything = sorted(arena.contents().values())
    staged = stage(window, attack)
    result = arena.run(plan)

    assert staged.left == 0
    assert (result.files_removed, result.errors) == (0, ())
    assert set(result.kept) <= {"changed", "not_a_file", "replaced"}
    assert sorted(arena.contents().values()) == everything
    assert arena.in_trash() == []
    assert digest(b"the victim") in everything
    if window in BEFORE_RENAME:
        assert result.kept == {"replaced": 1}
    assert arena.stale == [(2, b"victim")]


@pytest.mark.parametrize("action", ACTIONS)
def test_name_taken_again_while_another_object_is_in_the_trash(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """What came into the trash by race and cannot go back stays there, is recorded, named, and can be restored."""
    arena.write(VICTIM, b"the victim")
    attack = _as("file", arena)
    plan = arena.plan(VICTIM, action=action)

    def strike(window: str, name: bytes = b"") -> None:
        if window == "rename.before":
            attack(name)
        elif window == "back.before":
            arena.write(VICTIM, b"newcomer")

    monkeypatch.setattr(hooks, "at", strike)
    result = arena.run(plan)

    assert [path for path, _ in result.errors] == [VICTIM]
    assert "replaced; could not be put back: EEXIST" in result.errors[0][1]
    assert arena.in_trash() == [digest(b"precious")]
    assert sorted(arena.contents().values()) == sorted(map(digest, [b"precious", b"the victim", b"newcomer"]))
    assert arena.outcomes(result.run)[VICTIM][0] == "stray"
    arena.now += 10**9
    assert arena.purge().files_removed == 0  # never by age
    restored = arena.restore([VICTIM]).restored
    assert [(one.path, one.to) for one in restored] == [(VICTIM, VICTIM + b".restored-1")]
    assert arena.contents()[VICTIM + b".restored-1"] == digest(b"precious")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("window", BEFORE_PIN[:1] + BEFORE_RENAME + BEFORE_VERIFY)
def test_parent_exchanged(arena: Arena, stage: Stage, window: str, action: str) -> None:
    """A directory exchanged with another, whose files have the same names, loses nothing, nor does the other."""
    arena.write(VICTIM, b"the victim")
    arena.write("elsewhere/victim", b"precious")
    plan = arena.plan(VICTIM, action=action)
    everything = sorted(arena.contents().values())
    root = os.open(arena.root, os.O_PATH)
    uploads = os.open(arena.root / "uploads", os.O_PATH)
    staged = stage(window, lambda _: exchange(uploads, b"job", root, b"elsewhere"))
    result = arena.run(plan)
    os.close(root)
    os.close(uploads)

    assert staged.left == 0
    assert result.files_removed == 0
    assert set(result.kept) <= {"changed", "directory_moved"}
    if window != "run.begun":
        assert result.kept == {"directory_moved": 1}
    assert sorted(arena.contents().values()) == everything
    assert arena.contents()[b"elsewhere/victim"] == digest(b"the victim")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("window", BEFORE_RENAME + BEFORE_VERIFY)
def test_directory_moved_to_another_class(arena: Arena, stage: Stage, window: str, action: str) -> None:
    """A directory renamed into another class during the run keeps its files."""
    arena.write(VICTIM, b"the victim")
    arena.write("outputs/other")
    plan = arena.plan(VICTIM, action=action)
    stage(window, lambda _: os.rename(arena.root / "uploads/job", arena.root / "outputs/job"))
    result = arena.run(plan)

    assert (result.files_removed, result.kept) == (0, {"directory_moved": 1})
    assert arena.contents()[b"outputs/job/victim"] == digest(b"the victim")


@pytest.mark.parametrize("window", BEFORE_PIN[1:] + BEFORE_RENAME + BEFORE_VERIFY)
def test_parent_replaced_by_a_symlink(arena: Arena, stage: Stage, window: str) -> None:
    """A directory swapped for a symlink to a precious one is never followed (CVE-2018-6954 and its family)."""
    arena.write(VICTIM, b"the victim")
    arena.write("outputs/victim", b"precious")
    plan = arena.plan(VICTIM, action="delete")

    def attack(_name: bytes) -> None:
        os.rename(arena.root / "uploads/job", arena.root / "uploads/aside")
        os.symlink("../outputs", arena.root / "uploads/job")

    stage(window, attack)
    result = arena.run(plan)

    assert (result.files_removed, result.kept) == (0, {"directory_moved": 1})
    assert arena.contents()[b"outputs/victim"] == digest(b"precious")
    assert arena.contents()[b"uploads/aside/victim"] == digest(b"the victim")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("how", ["read", "write", "mapped", "executed", "hard link"])
def test_files_in_use_stay(arena: Arena, how: str, action: str) -> None:
    """A file that somebody has open, mapped, or runs, under this name or another, stays, and the result says in_use."""
    path = arena.write("uploads/busy", b"busy")
    place = arena.root / "uploads/busy"
    held: list[int] = []
    process = mapped = None
    if how == "mapped":
        fd = os.open(place, os.O_RDONLY)
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        os.close(fd)
    elif how == "executed":
        sleep = shutil.which("sleep")
        assert sleep is not None
        shutil.copy(sleep, place)
        process = subprocess.Popen([place, "1000"])
    elif how == "hard link":
        os.link(place, arena.root / "other name")
        held.append(os.open(arena.root / "other name", os.O_RDONLY))
    else:
        held.append(os.open(place, os.O_RDONLY if how == "read" else os.O_WRONLY))
    try:
        result = arena.run(arena.plan(path, action=action))
        assert (result.files_removed, result.kept, result.errors) == (0, {"in_use": 1}, ())
        assert path in arena.tree()
        assert list(arena.ledger.touched(arena.now)) == [path]
    finally:
        for fd in held:
            os.close(fd)
        if mapped is not None:
            mapped.close()
        if process is not None:
            process.kill()
            process.wait()
    assert arena.run(arena.plan(path, action=action)).files_removed == 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
@pytest.mark.parametrize("window", ["file.leased", "rename.before"])
def test_a_file_opened_while_it_is_removed_is_put_back(
    arena: Arena, stage: Stage, window: str, flags: int, action: str
) -> None:
    """Whoever opens the file while we hold it waits a moment, gets it whole, and finds it where it was.

    The competing open, which would end a process by SIGIO, does nothing to ours.
    """
    path = arena.write("uploads/wanted", b"wanted")
    plan = arena.plan(path, action=action)
    read: list[bytes] = []
    started = threading.Event()

    def reader() -> None:
        fd = os.open(arena.root / "uploads/wanted", flags | os.O_NONBLOCK)
        read.append(os.read(fd, 100))
        os.close(fd)

    def blocking_reader() -> None:
        started.set()
        while not read:
            try:
                with open(arena.root / "uploads/wanted", "rb") as stream:
                    read.append(stream.read())
            except FileNotFoundError:
                continue  # a late thread: it comes between the rename and the way back

    thread = threading.Thread(target=blocking_reader)
    over = threading.Event()
    bystander = threading.Thread(target=over.wait)  # lets SIGIO through, so a signal to the process would end it
    bystander.start()

    def attack(_name: bytes) -> None:
        with pytest.raises(BlockingIOError):  # O_NONBLOCK does not wait, but it breaks the lease
            reader()
        thread.start()
        started.wait()

    stage(window, attack)
    result = arena.run(plan)
    over.set()
    bystander.join()
    thread.join(10)

    assert (result.files_removed, result.kept) == (0, {"opened": 1})
    assert read == [b"wanted"] or not thread.is_alive()
    assert arena.contents() == {path: digest(b"wanted")}


@pytest.mark.parametrize("action", ACTIONS)
def test_skip_in_use_writers_lets_readers_lose(arena: Arena, action: str) -> None:
    """`skip_in_use = "writers"`: a reader does not keep a file, a writer does; "no" asks nobody."""
    place = arena.root / "uploads/a"
    for skip, flags, removed in (
        ("writers", os.O_RDONLY, 1), ("writers", os.O_WRONLY, 0), ("no", os.O_RDONLY, 1), ("no", os.O_WRONLY, 1),
    ):  # fmt: skip
        arena.write("uploads/a", b"a")
        plan = arena.plan("uploads/a", action=action)
        rule = replace(plan.actions[0].rule, skip_in_use=skip)  # type: ignore[arg-type]
        plan = replace(plan, actions=(plan.actions[0]._replace(rule=rule),))
        fd = os.open(place, flags)
        result = arena.run(plan)
        os.close(fd)
        assert (skip, flags, result.files_removed) == (skip, flags, removed)


@pytest.mark.parametrize("locked", ["uploads/job", "uploads", "."])
@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_a_locked_directory_keeps_all_below_it(arena: Arena, locked: str, kind: int) -> None:
    """A flock, shared or exclusive, on a directory or on one above it, keeps what is below."""
    arena.write(VICTIM)
    plan = arena.plan(VICTIM)
    fd = os.open(arena.root / locked, os.O_RDONLY)
    fcntl.flock(fd, kind)
    result = arena.run(plan)
    os.close(fd)

    assert (result.files_removed, result.kept) == (0, {"locked": 1})
    assert arena.run(plan).files_removed == 1


def test_a_directory_locked_while_its_file_is_in_the_trash(arena: Arena, stage: Stage) -> None:
    """A lock that comes before the destruction is respected: the file is put back."""
    arena.write(VICTIM)
    plan = arena.plan(VICTIM, action="delete")
    fd = os.open(arena.root / "uploads/job", os.O_RDONLY)
    stage("rename.after", lambda _: fcntl.flock(fd, fcntl.LOCK_EX))
    result = arena.run(plan)
    os.close(fd)

    assert (result.files_removed, result.kept) == (0, {"locked": 1})
    assert arena.tree() == {VICTIM}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("window", [*BEFORE_PIN, "file.pinned", "file.examined"])
def test_a_file_written_before_the_lease(arena: Arena, stage: Stage, window: str, action: str) -> None:
    """A write between the plan and the rename makes the file young again: it stays."""
    path = arena.write("uploads/a", b"old")
    plan = arena.plan(path, action=action)

    def attack(_name: bytes) -> None:
        place = arena.root / "uploads/a"
        place.write_bytes(b"new and longer")
        os.utime(place, (arena.now - 5, arena.now - 5))

    stage(window, attack)
    result = arena.run(plan)

    assert result.files_removed == 0
    assert set(result.kept) <= {"changed", "too_young"}
    assert arena.contents() == {path: digest(b"new and longer")}


@pytest.mark.parametrize("action", ACTIONS)
def test_trash_name_occupied(arena: Arena, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that already has the trash name is never replaced."""
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: "0")
    path = arena.write("uploads/a", b"victim")
    trash = arena.root / ".indexer" / "trash"
    trash.mkdir(mode=0o700)
    (trash / f"{arena.ledger.id}-1-n0-1").write_bytes(b"older")
    result = arena.run(arena.plan(path, action=action))

    assert (result.files_removed, result.errors) == (0, ((path, "EEXIST: File exists"),))
    assert arena.contents()[path] == digest(b"victim")
    assert arena.in_trash() == [digest(b"older")]


def test_an_older_ledger_gives_no_name_twice(arena: Arena) -> None:
    """Put back as it was before a run, it gives that run's number anew, and never its names in the trash."""
    for content in (b"one", b"two"):
        path = arena.write("uploads/a", content)
        assert arena.run(arena.plan(path)).run == 1
        arena.ledger._write(
            lambda connection: [
                connection.execute(f"DELETE FROM {name}") for name in ("action", "origin", "run", "sqlite_sequence")
            ]
        )
    assert sorted(arena.in_trash()) == sorted([digest(b"one"), digest(b"two")])


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_trash_that_others_can_reach_is_not_used(arena: Arena, mode: int) -> None:
    """The trash is ours alone; otherwise nothing is renamed into it."""
    path = arena.write("uploads/a")
    trash = arena.root / ".indexer" / "trash"
    trash.mkdir(mode=0o700)
    trash.chmod(mode)
    result = arena.run(arena.plan(path))

    assert result.files_removed == 0
    assert "can be reached by others" in result.errors[0][1]
    assert arena.tree() == {path}


def test_trash_that_is_a_symlink(arena: Arena, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A trash swapped for a symlink is not followed."""
    path = arena.write("uploads/a")
    (arena.root / ".indexer" / "trash").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    result = arena.run(arena.plan(path))

    assert result.files_removed == 0
    assert arena.tree() == {path}


def test_the_control_directory_is_never_removed_from(arena: Arena) -> None:
    """Even a plan that names the store's own files does nothing to them, whatever directory they are moved below."""
    path = arena.write("uploads/own")
    plan = arena.plan(path)
    file = plan.actions[0].file._replace(directory=b".indexer", name=b"ledger.db")
    result = arena.run(replace(plan, actions=(plan.actions[0]._replace(file=file),)))
    assert result.kept == {"protected": 1}

    arena.write("uploads/.indexer/x")  # another directory of that name is ordinary
    assert arena.run(arena.plan("uploads/.indexer/x")).files_removed == 1


@needs("CAP_CHOWN")
@pytest.mark.parametrize("name", [".indexer-01234567-89ab-cdef-0123-456789abcdef", ".indexer"])
@pytest.mark.parametrize("action", ["delete", "trash"])
def test_what_another_store_keeps_in_the_tree_is_never_removed_from(arena: Arena, action: str, name: str) -> None:
    """Whatever a plan says; unless a stranger has called his directory so, or others could reach into it."""
    path = arena.write(f"frames/{name}/trash/x")
    kept = arena.root / "frames" / name
    kept.chmod(0o700)
    result = arena.run(arena.plan(path, action=action))
    assert (result.files_removed, result.kept) == (0, {"protected": 1})
    kept.chmod(0o750)
    assert arena.run(arena.plan(path, action=action)).files_removed == 1
    path = arena.write(f"frames/{name}/trash/x")
    kept.chmod(0o700)
    os.chown(kept, 65534, 65534)
    assert arena.run(arena.plan(path, action=action)).files_removed == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_gone_before_its_turn(arena: Arena, action: str) -> None:
    """A file, or its whole directory, that somebody else removed is no error."""
    arena.write("uploads/a")
    arena.write("uploads/job/b")
    plan = arena.plan(action=action)
    os.unlink(arena.root / "uploads/a")
    os.rename(arena.root / "uploads/job", arena.root / "job")
    result = arena.run(plan)

    assert (result.files_removed, result.kept, result.errors, result.exit_code) == (0, {"gone": 2}, (), 0)
    assert sorted(arena.stale) == [(1, b"a"), (2, b"b")]


def test_an_application_s_own_sigio_handling_is_left_alone(arena: Arena) -> None:
    """After a run SIGIO is blocked or not as it was before, and nothing of ours is pending."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    arena.run(arena.plan(arena.write("uploads/a")))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before
    assert signal.SIGIO not in signal.sigpending()
