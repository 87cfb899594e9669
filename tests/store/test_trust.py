"""Who may tell the program what to remove: configuration and control directory, by owner, mode and place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from indexer.config import trust
from indexer.config.trust import open_place, open_private_directory, read_trusted
from indexer.errors import FilesystemError, TrustError
from indexer.store import Store, initialise_store, open_store
from tests.capabilities import needs
from tests.users import NOBODY as STRANGER
from tests.users import run_as

ENFORCING = '[store]\nmode = "enforce"\n'


def refusal(store: Store) -> TrustError:
    """Open the store, which must be refused with owner and mode of what is wrong, and a remedy."""
    with pytest.raises(TrustError) as refused:
        open_store(store.root)
    assert refused.value.exit_code == 2
    assert refused.value.remedy
    return refused.value


@needs("CAP_CHOWN")
def test_a_strangers_configuration_is_refused(store: Store) -> None:
    """Owner, mode and the two ways out are named: take it over, or keep it outside of the tree."""
    file = store.root / "indexer.toml"
    os.chown(file, STRANGER, STRANGER)
    refused = refusal(store)
    assert f"{file} belongs to nobody (uid {STRANGER}), mode 0600" in refused.message
    assert f"chown root {file}" in refused.remedy
    assert "--config /etc/indexer/NAME.toml" in refused.remedy
    assert "[store] path and state" in refused.remedy


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_configuration_that_others_may_write_to_is_refused(store: Store, mode: int) -> None:
    """Group or everybody; an ACL's mask shows in the group's bits."""
    (store.root / "indexer.toml").chmod(mode)
    refused = refusal(store)
    assert f"mode {mode:04o}" in refused.message
    assert "chmod go-w" in refused.remedy


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_control_directory_that_others_may_write_to_is_refused(store: Store, mode: int) -> None:
    """The sticky bit does not help there: what others put in would be believed."""
    store.control.chmod(mode)
    assert f"{store.control} belongs to" in refusal(store).message


@needs("CAP_CHOWN")
def test_a_strangers_control_directory_is_refused(store: Store) -> None:
    """Also where the configuration is in order."""
    os.chown(store.control, STRANGER, STRANGER)
    assert f"{store.control} belongs to nobody" in refusal(store).message


@needs("CAP_CHOWN")
def test_a_strangers_marker_is_refused(store: Store) -> None:
    """`store.json` says which tree this is."""
    os.chown(store.control / "store.json", STRANGER, STRANGER)
    assert "store.json belongs to nobody" in refusal(store).message


@needs("CAP_CHOWN")
@pytest.mark.parametrize("level", ["root", "above"])
def test_a_place_that_belongs_to_a_stranger_is_refused(store: Store, level: str) -> None:
    """Who owns a directory can replace what lies in it, whoever owns that."""
    place = {"root": store.root, "above": store.root.parent}[level]
    os.chown(place, STRANGER, STRANGER)
    assert f"{place} belongs to nobody" in refusal(store).message
    os.chown(place, os.geteuid(), os.getegid())


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_place_that_others_may_write_to_is_refused_without_the_sticky_bit(store: Store, mode: int) -> None:
    """They could rename the configuration away; with the sticky bit (`/tmp`) they cannot."""
    store.root.chmod(mode)
    refused = refusal(store)
    assert "others could replace what lies in it" in refused.message
    assert f"chmod +t {store.root}" in refused.remedy
    store.root.chmod(mode | stat.S_ISVTX)
    assert open_store(store.root).id == store.id


@needs("CAP_CHOWN")
def test_root_does_not_run_the_configuration_of_a_strangers_tree(tmp_path: Path) -> None:
    """A tree that belongs to somebody else, with a policy that would delete: refused by init too, nothing made."""
    tree = tmp_path / "home"
    tree.mkdir()
    (tree / "indexer.toml").write_text(ENFORCING)
    for path in (tree / "indexer.toml", tree):
        os.chown(path, STRANGER, STRANGER)
    for attempt in (initialise_store, open_store):
        with pytest.raises(TrustError) as refused:
            attempt(tree)
        assert "--config /etc/indexer/NAME.toml" in refused.value.remedy
    assert os.listdir(tree) == ["indexer.toml"]


@needs("CAP_CHOWN")
def test_root_serves_a_strangers_tree_by_a_configuration_of_its_own(tmp_path: Path, system: Path) -> None:
    """The remedy works: policy and state lie where the stranger cannot write, and a decoy in the tree is ignored."""
    tree = tmp_path / "home"
    decoy = tree / ".indexer"
    decoy.mkdir(parents=True)
    (decoy / "store.json").write_text("{}")
    (tree / "indexer.toml").write_text(ENFORCING)
    for path in (decoy / "store.json", decoy, tree / "indexer.toml", tree):
        os.chown(path, STRANGER, STRANGER)
    (system / "home.toml").write_text(f'[store]\npath = "{tree}"\nstate = "{tmp_path}/var/home"\n')
    made = initialise_store(tree, index_only=True)
    assert (made.control, made.state) == (tmp_path / "var/home", tmp_path / "var/home")
    assert made.config.store.mode == "report"
    assert made.may_remove
    assert open_store(tree).id == made.id
    assert made.trash_path() == tree / f".indexer-{made.id}" / "trash"
    assert sorted(os.listdir(tree)) == [".indexer", "indexer.toml"]


@needs("CAP_CHOWN")
def test_init_writes_that_configuration(tmp_path: Path, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`init DIR --config /etc/indexer/NAME.toml` names the tree and a state outside of it."""
    monkeypatch.setattr("indexer.store.initialise.SYSTEM_STATE", tmp_path / "var")
    tree = tmp_path / "home"
    tree.mkdir()
    os.chown(tree, STRANGER, STRANGER)
    with pytest.raises(FilesystemError) as refused:
        initialise_store(tree, "cache", config_path=tmp_path / "nowhere" / "home.toml")
    assert f"mkdir {tmp_path / 'nowhere'}" in refused.value.remedy
    system.rmdir()  # as on a new machine: it is made, for everybody to read, whatever the umask
    umask = os.umask(0o077)
    made = initialise_store(tree, "cache", config_path=system / "home.toml")
    os.umask(umask)
    assert stat.S_IMODE(system.stat().st_mode) == 0o755
    assert made.config.path == system / "home.toml"
    assert made.state == tmp_path / "var" / "home"
    assert os.listdir(tree) == []
    assert open_store(tree).config.classes == made.config.classes


def test_a_link_is_obeyed_only_if_its_place_is_trusted(tmp_path: Path) -> None:
    """Every link on the way is checked like a file; a loop ends."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.toml").write_text("a = 1")
    (tmp_path / "link.toml").symlink_to("real/x.toml")
    assert read_trusted(tmp_path / "link.toml")[0] == b"a = 1"
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(TrustError):
        read_trusted(tmp_path / "link.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    with pytest.raises(TrustError, match="too many symbolic links"):
        read_trusted(tmp_path / "loop.toml")


@needs("CAP_CHOWN")
def test_a_strangers_link_is_refused(tmp_path: Path) -> None:
    """In a sticky directory anybody may put a link to a file that root trusts."""
    (tmp_path / "x.toml").write_text("a = 1")
    (tmp_path / "x.toml").chmod(0o600)
    (tmp_path / "link.toml").symlink_to("x.toml")
    os.chown(tmp_path / "link.toml", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(TrustError, match="belongs to nobody"):
        read_trusted(tmp_path / "link.toml")


def test_only_a_plain_small_file_is_read(tmp_path: Path) -> None:
    """A FIFO does not hang, a directory and a huge file are named."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir()
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(trust.LARGEST_FILE + 1)
    for name, said in (
        ("fifo", "not a regular file"),
        ("directory", "not a regular file"),
        ("huge", "larger than 1 MiB"),
    ):
        with pytest.raises(TrustError, match=said):
            read_trusted(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_trusted(tmp_path / "none")


def test_what_is_read_is_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file exchanged between the look and the open is judged by what was opened."""
    file = tmp_path / "x.toml"
    file.write_text("honest = 1")
    file.chmod(0o600)
    real_open = os.open

    def exchange(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if path == "x.toml":
            file.unlink()
            file.write_text("evil = 1")
            file.chmod(0o666)
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(TrustError, match="mode 0666"):
        read_trusted(file)


def test_a_directory_exchanged_for_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk from `/` down opens each component itself, without following."""
    (tmp_path / "place").mkdir()
    (tmp_path / "other").mkdir()
    real_open = os.open

    def exchange(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if path == "place":
            (tmp_path / "place").rmdir()
            (tmp_path / "place").symlink_to("other")
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(NotADirectoryError):
        open_place(tmp_path / "place")


def test_a_control_directory_is_no_link(store: Store) -> None:
    """Whoever could place the link could choose the control directory."""
    store.control.rename(store.root / "moved")
    store.control.symlink_to("moved")
    with pytest.raises(TrustError, match="symbolic link"):
        open_private_directory(store.control)
    refusal(store)


@needs("CAP_CHOWN")
def test_a_user_trusts_root_and_itself_and_nobody_else(public_tmp: Path) -> None:
    """Root's configuration counts for everybody, another user's for nobody."""
    file = public_tmp / "x.toml"
    file.write_text(ENFORCING)
    file.chmod(0o644)
    command = ("config", "check", str(file))
    assert run_as(STRANGER, *command).code == 0
    os.chown(file, STRANGER, STRANGER)
    assert run_as(STRANGER, *command).code == 0
    os.chown(file, 12345, 12345)
    done = run_as(STRANGER, *command)
    assert done.code == 2
    assert "belongs to uid 12345, mode 0644: neither root nor you (nobody)" in done.stdout
