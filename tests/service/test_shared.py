"""The socket of `[service]`: a group uses the service of a store whose databases it cannot read."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce.ledger import Ledger
from indexer.errors import IndexerError, ServiceError, UsageError
from indexer.manager import StorageManager
from indexer.service.reach import open_or_reach
from indexer.service.shared import runtime_directory, shared_place
from indexer.store import Store, open_store
from indexer.store.identity import PrivateStoreError
from tests.capabilities import require
from tests.program import Program, Service
from tests.service.scheduled import expired, scheduled
from tests.users import do_as, run_as

MEMBER = 4242
"""User and group."""
STRANGER = 65534


def shared(root: Path, service: str = "", files: int = 3) -> Store:
    """Make a store in enforce mode whose service answers the group, without a schedule of its own."""
    store = scheduled(root, 'cleanup = "0 0 29 2 *"', files=files)
    assert store.config.path is not None
    text = store.config.path.read_text(encoding="utf-8") + f'[service]\ngroup = "{MEMBER}"\n{service}\n'
    store.config.path.write_text(text, encoding="utf-8")
    store.config.path.chmod(0o600)
    return store


@contextmanager
def served(program: Program, store: Store) -> Iterator[Service]:
    """Run its service; the directory below /run is gone after."""
    require("CAP_SYS_ADMIN")
    with program.watch(store.root) as service:
        service.settle()
        yield service
    assert not runtime_directory(store.root_bytes).exists()


@pytest.fixture(scope="module")
def read_and_protect() -> Iterator[Store]:
    """Return a store with the default `allow`, served, in a directory that others may enter."""
    with tempfile.TemporaryDirectory(prefix="indexer-test-") as place:
        base = Path(place)
        base.chmod(0o755)
        store = shared(base / "store")
        with served(Program(), store):
            yield store


def asks(uid: int, *argv: str | Path, exits: int = 0, environ: dict[str, str] | None = None) -> Any:
    """Run a command as a user and return its document."""
    done = run_as(uid, *(os.fspath(word) for word in argv), "--json", environ=environ)
    assert done.code == exits, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_member_looks_without_reading_a_database(read_and_protect: Store) -> None:
    """Status, settle, scan, plan, explain, reports and metrics say what they say to root; the files stay 0600."""
    root = read_and_protect.root
    assert read_and_protect.index_path.stat().st_mode & 0o777 == 0o600
    status = asks(MEMBER, "status", root)
    assert (status["state"], status["files"], status["due_files"], status["mode"]) == ("clean", 3, 3, "enforce")
    assert asks(MEMBER, "settle", root)["seconds"] < 60
    assert asks(MEMBER, "scan", root)["files"] == 3
    plan = asks(MEMBER, "plan", root)
    assert [action["path"] for action in plan["actions"]] == [f"uploads/{number}" for number in range(3)]
    assert plan["totals"]["files"] == 3
    assert asks(MEMBER, "explain", root / "uploads" / "1")["class"] == "uploads"
    long = [f"uploads/{'x' * 200}/{number}" for number in range(700)]  # more than one question holds
    assert [one["path"] for one in asks(MEMBER, "-C", root, "explain", *long, exits=1)] == long
    with pytest.raises(IndexerError, match="at most 100 paths"):
        ask_as_member(root, {"op": "explain", "paths": ["x"] * 101})
    assert asks(MEMBER, "restore", root / "uploads" / "1", "-n", exits=1)["errors"][0]["path"] == "uploads/1"
    usage = {row["class"]: row["files"] for row in asks(MEMBER, "report", "usage", root)["rows"]}
    assert usage["uploads"] == 3
    assert asks(MEMBER, "cleanup", root, "-n")["files_removed"] == 3
    assert 'indexer_files{class="uploads",tier="hot"} 3.0' in run_as(MEMBER, "metrics", str(root)).stdout
    assert asks(MEMBER, "trash", "list", root)["files"] == 0
    shown = run_as(MEMBER, "plan", str(root))
    assert "uploads/0" in shown.stdout


def test_a_member_beside_an_invalid_configuration(read_and_protect: Store) -> None:
    """Whether he may read the file or not: the service goes by what is in force, and says so."""
    file = read_and_protect.config.path
    assert file is not None
    before = file.read_bytes()
    try:
        file.write_bytes(before + b"nonsense = 1\n")
        for mode in (0o600, 0o644):
            file.chmod(mode)
            asks(MEMBER, "settle", read_and_protect.root)
            assert asks(MEMBER, "status", read_and_protect.root, exits=1)["reasons"] == ["policy_error"]
    finally:
        file.chmod(0o600)
        file.write_bytes(before)
        asks(MEMBER, "settle", read_and_protect.root)


def test_what_a_member_may_not_do_is_refused_with_the_way_out(read_and_protect: Store) -> None:
    """No removal, no restoring, no stop, no database, no guard set aside; and nothing was removed."""
    root = read_and_protect.root
    error = asks(MEMBER, "cleanup", root, "-y", exits=1)["error"]
    assert "not remove" in error["message"]
    assert 'add "remove" to allow' in error["remedy"]
    error = asks(MEMBER, "restore", root / "uploads" / "1", "-y", exits=1)["error"]
    assert "not restore" in error["message"]
    for command in (["-C", str(root), "sql", "SELECT 1"], ["trash", "empty", str(root), "-y"]):
        assert asks(MEMBER, *command, exits=1)["error"]["code"] == "private"
    assert asks(MEMBER, "watch", root, exits=2)["error"]["code"] == "usage"
    for operation in ("stop", "nothing"):
        with pytest.raises(IndexerError):
            ask_as_member(root, {"op": operation})
    assert len(os.listdir(root / "uploads")) == 3
    assert asks(MEMBER, "status", root)["state"] == "clean"


def test_a_stranger_is_not_let_in(read_and_protect: Store) -> None:
    """Neither group nor owner: the kernel refuses the connection, and the message says how it could be."""
    error = asks(STRANGER, "status", read_and_protect.root, exits=1)["error"]
    assert "may not command the service" in error["message"]
    assert "[service] group" in error["remedy"]


def ask_as_member(root: Path, request: dict[str, Any]) -> None:
    """Send a request as the member; raise what was answered, in this process."""
    place = runtime_directory(os.fsencode(root)) / "control.sock"
    read, write = os.pipe()

    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(place))
            connection.sendall(json.dumps(request).encode() + b"\n")
            os.write(write, connection.makefile("rb").readline())

    try:
        do_as(MEMBER, ask)
        answer = json.loads(os.read(read, 65536))
    finally:
        os.close(read)
        os.close(write)
    if "error" in answer:
        raise ServiceError(answer["error"]["message"])


def test_an_application_holds_and_leases_in_its_own_name(read_and_protect: Store) -> None:
    """StorageManager as the member: usage, explain, hold, lease, release; somebody else's hold stays."""
    root = read_and_protect.root
    StorageManager(root).hold("uploads/2", reason="mine")

    def work() -> None:
        manager = StorageManager(root)
        assert next(row["files"] for row in manager.usage() if row["class"] == "uploads") == 3
        held = manager.hold("uploads/0", ttl="1h", reason="looking", by="root")
        assert [(one["path"], one["by"]) for one in held] == [("uploads/0", str(MEMBER))]
        with manager.lease("uploads/1", ttl="60s") as lease:
            assert lease.renew()
            plan = manager.plan()
            assert plan["kept"] == {"held": 2, "leased": 1}
            assert plan["actions"] == []
        assert [action["path"] for action in manager.plan()["actions"]] == ["uploads/1"]
        try:
            manager.release("uploads/2")
        except ServiceError as error:
            assert "root holds this" in error.message  # noqa: PT017 - in another process
        else:
            raise AssertionError("root's hold was released")
        left, nothing = manager.release("uploads/0")
        assert ([one["path"] for one in left], nothing) == (["uploads/2"], [])
        for refused in (lambda: manager.sql("SELECT 1"), lambda: manager.export("/tmp/x.db"), manager.trash_empty):
            try:
                refused()
            except PrivateStoreError:
                continue
            raise AssertionError("a database was opened")

    do_as(MEMBER, work)
    StorageManager(root).release("uploads/2")


def test_a_lease_of_another_cannot_be_ended(read_and_protect: Store) -> None:
    """Numbers of leases can be guessed: only who took one ends or renews it."""
    with Ledger.open(read_and_protect.ledger_path) as ledger:
        lease = ledger.add_lease(b"uploads/0", "root, process 1", expires=2**40, now=0)
        ask_as_member(read_and_protect.root, {"op": "end_lease", "lease": lease})
        ask_as_member(read_and_protect.root, {"op": "renew", "lease": lease, "ttl": 1})
        assert ledger.protection(2**39).blocker(b"uploads/0") == "leased"
        ledger.end_lease(lease)


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "hold", "paths": ["../../etc/passwd"]},
        {"op": "hold", "paths": "uploads"},
        {"op": "hold", "paths": ["/etc"]},
        {"op": "hold", "paths": ["a\0b"]},
        {"op": "hold", "paths": ["\ud800"]},
        {"op": "scan", "under": "\ud800"},
        {"op": "scan", "under": "../.."},
        {"op": "scan", "under": ["uploads"]},
        {"op": "report", "name": "drift", "options": {}},
        {"op": "report", "name": "usage", "options": {"heap": 1}},
        {"op": "lease", "path": "uploads", "ttl": True},
        {"op": "lease", "path": "uploads", "ttl": 0},
        {"op": "run", "kind": "quota", "dry_run": True},
        {"op": "run", "kind": "cleanup", "dry_run": False, "peer": {"uid": 0}},
    ],
)
def test_nonsense_and_tricks_are_refused(read_and_protect: Store, request_: dict[str, Any]) -> None:
    """A request cannot lead out of the tree, nor say who it comes from; none ends the service for everybody."""
    with pytest.raises(ServiceError):
        ask_as_member(read_and_protect.root, request_)
    ask_as_member(read_and_protect.root, {"op": "hello"})


def test_with_remove_and_restore_a_member_starts_what_the_policy_says(program: Program, public_tmp: Path) -> None:
    """The ledger has the member's name; `to`, `override` and written plans stay the owner's."""
    store = shared(public_tmp / "store", 'allow = ["read", "protect", "remove", "restore"]')

    def work() -> None:
        manager = StorageManager(store.root)
        result = manager.run_cleanup()
        assert (result["files_removed"], result["errors"], result["refused"]) == (3, [], None)
        assert len(manager.restore(run=result["run"])["restored"]) == 3
        attempts: list[Callable[[], object]] = [
            lambda: manager.restore(run=result["run"], to="/tmp"),
            lambda: manager.run_cleanup(override="everything"),
            lambda: manager.run_cleanup(plan_file="/tmp/plan"),
        ]
        for refused in attempts:
            try:
                refused()
            except UsageError:
                continue
            raise AssertionError("it was not refused")

    with served(program, store):
        do_as(MEMBER, work)
        assert sorted(os.listdir(store.root / "uploads")) == ["0", "1", "2"]
        expired(store.root, 3)
        result = asks(MEMBER, "expire", store.root, "-y", "--limit", "1")
        assert result["files_removed"] == 1
        skipped = asks(MEMBER, "cleanup", store.root, "--if-stale", "1h", "-y")
        assert skipped["skipped"] is True
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        assert {run.user for run in ledger.runs()} == {str(MEMBER)}


def test_a_socket_at_another_place(program: Program, public_tmp: Path) -> None:
    """Mode and group as written; found by a signpost below /run, by the variable, and by a readable configuration."""
    place = public_tmp / "sockets"
    place.mkdir(mode=0o755)
    store = shared(public_tmp / "store", f'socket = "{place}/media.sock"\nmode = "0660"')
    with served(program, store):
        seen = (place / "media.sock").stat()
        assert (seen.st_mode & 0o777, seen.st_gid) == (0o660, MEMBER)
        assert asks(MEMBER, "status", store.root)["files"] == 3
        (runtime_directory(store.root_bytes) / "control.sock").unlink()
        asks(MEMBER, "status", store.root, exits=2)
        assert asks(MEMBER, "status", store.root, environ={"INDEXER_SOCKET": f"{place}/media.sock"})["files"] == 3
        assert store.config.path is not None
        store.config.path.chmod(0o644)
        assert asks(MEMBER, "status", store.root)["files"] == 3
    assert os.listdir(place) == []


def test_who_answers_for_a_tree_must_be_its_owner(public_tmp: Path) -> None:
    """A socket that a stranger has put into a shared directory is not believed, whatever the variable says."""
    require("CAP_SYS_ADMIN")
    store = shared(public_tmp / "store")
    place = public_tmp / "x.sock"
    public_tmp.chmod(0o1777)
    read, write = os.pipe()
    impostor = os.fork()
    if impostor == 0:
        os.setresuid(STRANGER, STRANGER, STRANGER)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
            place.chmod(0o777)
            listener.listen()
            os.write(write, b"1")
            connection, _ = listener.accept()
            connection.makefile("rb").readline()
            connection.sendall(json.dumps({"id": "x", "root": str(store.root), "mode": "enforce"}).encode() + b"\n")
            connection.recv(1)
        os._exit(0)
    os.read(read, 1)

    def work() -> None:
        os.environ["INDEXER_SOCKET"] = str(place)
        try:
            open_or_reach(store.root)
        except ServiceError as error:
            assert "neither root nor the owner" in error.message  # noqa: PT017 - in another process
        else:
            raise AssertionError("an impostor was believed")

    do_as(MEMBER, work)
    os.waitpid(impostor, 0)


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ('socket = "/nowhere/at/all.sock"', "does not exist"),
        ('socket = "{tmp}/file"', "is no socket"),
        ('socket = "{tmp}/open/x.sock"', "others could replace"),
        ('socket = "{tmp}/taken.sock"', "another process answers"),
        ('mode = "0640"', "service.mode"),
        ('allow = ["stop"]', "service.allow"),
        ("allow = []", "service.allow"),
    ],
)
def test_a_socket_that_cannot_be_is_refused(public_tmp: Path, lines: str, word: str) -> None:
    """Usage, trust or configuration, each with what is wrong: no service runs without what was asked for."""
    require("CAP_SYS_ADMIN")
    (public_tmp / "file").touch()
    (public_tmp / "open").mkdir()
    (public_tmp / "open").chmod(0o777)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(public_tmp / "taken.sock"))
        taken.listen()
        store = shared(public_tmp / "store", lines.format(tmp=public_tmp))
        with pytest.raises(IndexerError) as caught, shared_place(open_store(store.root)):
            raise AssertionError(lines)
    assert caught.value.exit_code == 2
    assert word in caught.value.message + str(getattr(caught.value, "problems", ""))
    assert caught.value.remedy
    assert not runtime_directory(os.fsencode(public_tmp / "store")).exists()


def test_a_dead_service_leaves_a_member_outside(public_tmp: Path) -> None:
    """Without a service there is nobody to ask: the store is private, and the remedy says whose it is."""
    store = shared(public_tmp / "store")
    assert store.config.path is not None
    store.config.path.chmod(0o644)
    assert asks(MEMBER, "status", store.root, exits=1)["error"]["code"] == "private"
