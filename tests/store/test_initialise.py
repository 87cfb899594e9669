"""What init makes, what it refuses, and that it never overwrites."""

from __future__ import annotations

import errno
import json
import os
import pwd
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import FilesystemError, IndexerError, NoStoreError, UsageError
from indexer.store import Store, initialise_store, is_root, open_store
from indexer.store.places import state_home
from tests.capabilities import needs
from tests.trees import make
from tests.users import NOBODY as STRANGER
from tests.users import run_as


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_what_is_made_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """0700 and 0600."""
    former = os.umask(umask)
    try:
        store = initialise_store(tmp_path, "cache")
        with store.service_lock(), store.run_lock():
            pass
    finally:
        os.umask(former)
    assert {path.name: mode(path) for path in store.control.iterdir()} == dict.fromkeys(
        ("store.json", "service.lock", "run.lock"), 0o600
    )
    assert (mode(store.control), mode(tmp_path / "indexer.toml")) == (0o700, 0o600)


def test_init_is_report_only(store: Store) -> None:
    """Nothing is removed before somebody writes "enforce"; the state is where the contract says."""
    assert store.config.store.mode == "report"
    assert store.may_remove
    assert store.control == store.state == store.root / ".indexer"
    assert store.index_path == store.root / ".indexer/index.db"
    assert store.ledger_path == store.root / ".indexer/ledger.db"
    assert store.trash_path() == store.root / ".indexer/trash"
    assert store.marker.created > 0
    assert open_store(store.root) == store


def test_nothing_is_ever_overwritten(store: Store) -> None:
    """Again without a profile: the same store. With one: an error, and the file stays."""
    (store.root / "indexer.toml").write_text("# mine\n")
    again = initialise_store(store.root)
    assert again.id == store.id
    with pytest.raises(UsageError, match="never overwritten"):
        initialise_store(store.root, "cache")
    assert (store.root / "indexer.toml").read_text() == "# mine\n"


def test_a_configuration_written_by_hand_is_kept(tmp_path: Path) -> None:
    """Init makes the control directory beside it; an invalid one makes nothing."""
    (tmp_path / "indexer.toml").write_text("[store]\nmode = 'nonsense'")
    with pytest.raises(IndexerError):
        initialise_store(tmp_path)
    assert not is_root(tmp_path)
    (tmp_path / "indexer.toml").write_text("[guards]\nmax_files = 3")
    assert initialise_store(tmp_path).config.guards.max_files == 3


def test_an_index_alone_has_no_configuration(tmp_path: Path) -> None:
    """What `scan` and `watch` do to a plain directory; `init` adds the policy later."""
    store = initialise_store(tmp_path, index_only=True)
    assert (store.config.path, store.config.classes) == (None, ())
    assert os.listdir(tmp_path) == [".indexer"]
    later = initialise_store(tmp_path, "media")
    assert later.id == store.id
    assert later.config.classes[0].name == "uploads"


def test_without_a_profile_the_tree_proposes(tmp_path: Path) -> None:
    """Media's classes only where their directories are."""
    make(tmp_path, {"frames": {}, "photos": {}})
    assert [rule.name for rule in initialise_store(tmp_path).config.classes] == ["frames", "photos"]


def test_the_root_of_everything_is_refused() -> None:
    """`/`, by whatever name."""
    for path in (Path("/"), Path("/proc/self/root"), Path("/usr/..")):
        with pytest.raises(UsageError, match="/ cannot be a store"):
            initialise_store(path)


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_directory_must_be_one(tmp_path: Path, name: str) -> None:
    """Missing, or a file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError):
        initialise_store(tmp_path / name)


def test_an_unknown_profile_makes_nothing(tmp_path: Path) -> None:
    """The known ones are named."""
    with pytest.raises(UsageError) as refused:
        initialise_store(tmp_path, "medai")
    assert refused.value.remedy == "profiles: media, cache, scratch, empty"
    assert os.listdir(tmp_path) == []


def test_stores_are_not_nested(store: Store, system: Path) -> None:
    """Not inside one, not around one, and not around one whose state lies elsewhere, however deep."""
    below = store.root / "frames" / "job"
    below.mkdir(parents=True)
    with pytest.raises(UsageError, match=f"lies in the store {store.root}") as refused:
        initialise_store(below)
    assert "--under frames/job" in refused.value.remedy
    with pytest.raises(UsageError, match=f"holds the store {store.root}"):
        initialise_store(store.root.parent)
    with pytest.raises(UsageError):
        initialise_store(store.control)
    wide = store.root.with_name("wide")
    deep = wide / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (system / "deep.toml").write_text(f'[store]\npath = "{deep}"\n')
    with pytest.raises(UsageError, match=f"holds the store {deep}"):
        initialise_store(wide)


def test_a_copy_of_a_store_is_ordinary_data(store: Store) -> None:
    """A backup of a store inside a tree is no store: its marker is about another directory."""
    wide = store.root.with_name("wide")
    make(wide, {"backup": {".indexer": {"store.json": (store.control / "store.json").read_bytes()}}})
    assert initialise_store(wide, index_only=True).root == wide


@needs("CAP_CHOWN")
def test_a_strangers_decoy_above_does_not_stop_anybody(tmp_path: Path) -> None:
    """Whoever may write into /tmp could otherwise forbid all stores below it."""
    make(tmp_path, {"mine": {}, ".indexer": {"store.json": b""}})
    tmp_path.chmod(0o1777)
    os.chown(tmp_path / ".indexer", STRANGER, STRANGER)
    assert initialise_store(tmp_path / "mine", index_only=True).root == tmp_path / "mine"


def test_those_that_start_together_make_one_store(tmp_path: Path) -> None:
    """Whoever comes second finds the marker of the first, and a configuration that is whole."""
    make(tmp_path, {"uploads": {}, "frames": {}})
    start = threading.Barrier(8)
    found: list[tuple[str, int]] = []

    def begin() -> None:
        start.wait()
        store = initialise_store(tmp_path)
        found.append((store.id, len(store.config.classes)))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert found[0][1] == 2
    assert sorted(os.listdir(tmp_path)) == [".indexer", "frames", "indexer.toml", "uploads"]


def test_a_filesystem_without_links_gets_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT, some of FUSE: and what is there already stays there."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert initialise_store(tmp_path, "cache").config.classes
    assert sorted(os.listdir(tmp_path)) == [".indexer", "indexer.toml"]


def test_the_state_may_lie_on_another_filesystem(tmp_path: Path) -> None:
    """The databases go there, the control directory stays; a state that is not there is said to be missing."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "indexer.toml").write_text('[store]\nstate = "../fast/state"\n')
    store = initialise_store(tree)
    assert (store.control, store.state) == (tree / ".indexer", tmp_path / "fast" / "state")
    assert mode(store.state) == 0o700
    (tmp_path / "fast").rename(tmp_path / "away")
    with pytest.raises(FilesystemError, match="does not hold this store's state") as refused:
        open_store(tree)
    assert "mounted" in refused.value.remedy


def test_two_stores_do_not_share_a_state(tmp_path: Path) -> None:
    """Their ledgers would be one."""
    for name in ("a", "b"):
        make(tmp_path, {name: {"indexer.toml": b'[store]\nstate = "../state"\n'}})
    initialise_store(tmp_path / "a")
    with pytest.raises(FilesystemError, match="state of another store"):
        initialise_store(tmp_path / "b")


def test_a_store_has_one_state(tmp_path: Path) -> None:
    """Another configuration that names another one is refused, until the databases have been moved there."""
    tree = tmp_path / "tree"
    make(tmp_path, {"tree": {}, "b.toml": f'[store]\npath = "{tree}"\nstate = "b"\n'.encode()})
    (tmp_path / "a.toml").write_text(f'[store]\npath = "{tree}"\nstate = "a"\n')
    first = initialise_store(tree, config_path=tmp_path / "a.toml")
    first.ledger_path.write_bytes(b"what was removed")
    with pytest.raises(UsageError, match=f"a store already, whose databases lie in {tmp_path}/a") as refused:
        initialise_store(tree, config_path=tmp_path / "b.toml")
    assert f"mv {tmp_path}/a/* {tmp_path}/b/" in refused.value.remedy
    with pytest.raises(UsageError, match="a store already"):
        initialise_store(tree, index_only=True)
    assert initialise_store(tree, config_path=tmp_path / "a.toml").id == first.id
    for path in (tmp_path / "a").iterdir():
        path.rename(tmp_path / "b" / path.name)
    moved = initialise_store(tree, config_path=tmp_path / "b.toml")
    assert (moved.id, moved.ledger_path.read_bytes()) == (first.id, b"what was removed")


def test_a_ledger_is_never_left_behind(store: Store) -> None:
    """A `state` written later: the journal must move with it, and the command is named."""
    store.ledger_path.write_bytes(b"what was removed")
    (store.root / "indexer.toml").write_text('[store]\nstate = "../state"\n')
    with pytest.raises(FilesystemError) as refused:
        initialise_store(store.root)
    state = store.root.parent / "state"
    assert refused.value.remedy == f"stop the service, then: mv {store.control}/*.db* {state}/"
    store.ledger_path.rename(state / "ledger.db")
    assert initialise_store(store.root).state == state


@needs("CAP_SYS_ADMIN")
def test_a_read_only_tree_is_indexed_and_never_removed_from(mount: Callable[..., Path]) -> None:
    """Its state lies in $XDG_STATE_HOME/indexer/ID, the mode is report whatever is asked, and the reason is said."""
    tree = mount("tmpfs")
    (tree / "uploads").mkdir()
    os.system(f"mount -o remount,ro {tree}")  # noqa: S605
    store = initialise_store(tree, environ={**os.environ, "INDEXER_STORE_MODE": "enforce"})
    assert store.control == Path(os.environ["XDG_STATE_HOME"]) / "indexer" / store.id
    assert store.control == store.state
    assert not store.may_remove
    assert "not writable" in store.keep_reason
    assert store.config.store.mode == "report"
    assert store.config.sources["store.mode"] == "forced: the tree is not writable"
    assert store.config.path == store.state / "indexer.toml"
    assert [rule.name for rule in store.config.classes] == ["uploads"]
    assert initialise_store(tree).id == open_store(tree).id == store.id
    assert is_root(tree)


@needs("CAP_CHOWN")
def test_an_unprivileged_user_indexes_a_tree_of_somebody_else(public_tmp: Path) -> None:
    """Report only, state of their own; the tree is untouched."""
    tree = public_tmp / "tree"
    make(tree, {"uploads": {"a": b"1"}})
    home = public_tmp / "home"
    home.mkdir()
    os.chown(home, STRANGER, STRANGER)
    environ = {"XDG_STATE_HOME": str(home)}
    done = run_as(STRANGER, "init", str(tree), "--json", environ=environ)
    assert done.code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["state"] == f"{home}/indexer/{document['id']}"
    assert (document["may_remove"], document["mode"]) == (False, "report")
    assert os.listdir(tree) == ["uploads"]
    again = run_as(STRANGER, "init", str(tree), "--json", environ=environ)
    assert json.loads(again.stdout)["id"] == document["id"]


@needs("CAP_CHOWN")
def test_without_permission_there_is_a_clear_error(public_tmp: Path) -> None:
    """A store private to root, a directory nobody may enter, and no place for a state of one's own."""
    tree, closed, plain = public_tmp / "tree", public_tmp / "closed", public_tmp / "plain"
    for path in (tree, closed, plain):
        path.mkdir()
    initialise_store(tree, "empty")
    (tree / "indexer.toml").chmod(0o644)
    closed.chmod(0o700)
    wanted = {
        ("config", "show", "-C", str(tree)): (1, "private to the user whose store it is"),
        ("init", str(tree)): (1, "private to the user whose store it is"),
        ("init", str(closed / "x")): (1, "permission denied"),
        ("init", str(closed)): (1, "cannot be made"),
        ("init", str(plain)): (1, "cannot be made"),
        ("init", str(public_tmp)): (2, f"holds the store {tree}"),
    }
    for arguments, (code, said) in wanted.items():
        done = run_as(STRANGER, *arguments)
        assert (done.code, said in done.stderr) == (code, True), (arguments, done)
        assert "Traceback" not in done.stderr


@needs("CAP_CHOWN")
def test_a_closed_directory_below_is_no_obstacle(public_tmp: Path) -> None:
    """Whether it is a store cannot be seen; most private directories are not."""
    make(public_tmp, {"mine": {"private": {}}, "state": {}})
    for path in ("mine", "state"):
        os.chown(public_tmp / path, STRANGER, STRANGER)
    (public_tmp / "mine" / "private").chmod(0o700)
    done = run_as(STRANGER, "init", str(public_tmp / "mine"), "--json")
    assert done.code == 0, done.stderr
    assert list(json.loads(done.stdout)["classes"]) == ["private"]


@needs("CAP_SYS_ADMIN")
def test_a_full_disk_is_a_clear_error(mount: Callable[..., Path]) -> None:
    """No half of a store is left to be believed."""
    tree = mount("tmpfs", size=1)
    room = os.statvfs(tree)
    (tree / "filler").write_bytes(b"x" * room.f_bavail * room.f_frsize)
    with pytest.raises(FilesystemError) as refused:
        initialise_store(tree, "media")
    assert "No space left" in refused.value.message
    assert refused.value.remedy
    with pytest.raises(NoStoreError):
        open_store(tree)


@needs("CAP_CHOWN")
def test_the_home_of_somebody_else_is_not_the_callers(public_tmp: Path) -> None:
    """With HOME kept by sudo, root's state does not go into a user's home."""
    os.chown(public_tmp, STRANGER, STRANGER)
    own = Path(pwd.getpwuid(0).pw_dir)
    assert state_home({"HOME": str(public_tmp)}) == own / ".local/state/indexer"
    assert state_home({"HOME": str(own)}) == own / ".local/state/indexer"
    assert state_home({"HOME": str(own), "XDG_STATE_HOME": "relative"}) == own / ".local/state/indexer"
    assert state_home({"XDG_STATE_HOME": "/var/state"}) == Path("/var/state/indexer")


def test_only_the_stores_own_files_are_exempt(store: Store) -> None:
    """By inode: another directory called .indexer is ordinary."""
    make(store.root, {"sub": {".indexer": {}, "indexer.toml": b""}})
    assert store.exempt() == {
        (path.stat().st_dev, path.stat().st_ino) for path in (store.control, store.root / "indexer.toml")
    }


@needs("CAP_SYS_ADMIN")
def test_a_named_filesystem_has_its_own_trash(mount: Callable[..., Path]) -> None:
    """It is made, private and exempt, as soon as somebody holds the store; not where nothing is mounted."""
    other = mount("tmpfs")
    root = other.parent
    (root / "absent").mkdir()
    (root / "indexer.toml").write_text(f'[store]\nfilesystems = ["{other.name}", "absent"]\n')
    store = initialise_store(root)
    with store.service_lock():
        parent = other / f".indexer-{store.id}"
        assert store.trash_path(other.name) == parent / "trash"
        assert mode(parent) == 0o700
        assert (parent.stat().st_dev, parent.stat().st_ino) in store.exempt()
    assert os.listdir(root / "absent") == []
