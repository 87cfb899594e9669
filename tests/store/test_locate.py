"""Which store a command means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.errors import ConfigError, NoStoreError, TrustError, UsageError
from indexer.store import Store, initialise_store, locate_store, open_store, store_of


@pytest.fixture
def inside(store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory in the store, which is the current one."""
    below = store.root / "frames" / "job-1"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return below


def other_store(store: Store, name: str = "other") -> Path:
    """Return the root of a second store beside the first."""
    root = store.root.with_name(name)
    root.mkdir()
    return initialise_store(root, index_only=True).root


def test_the_nearest_store_above_is_meant(store: Store, inside: Path) -> None:
    """From anywhere in the tree."""
    assert locate_store() == store.root
    os.chdir(store.root)
    assert locate_store() == store.root
    assert inside.is_dir()


def test_what_is_named_comes_before_where_one_stands(store: Store, inside: Path) -> None:
    """`-C` before INDEXER_STORE before the current directory; DIR like `-C`."""
    second, third = other_store(store), other_store(store, "third")
    environ = {"INDEXER_STORE": str(second)}
    assert locate_store(env=environ) == second
    assert locate_store(option=third, env=environ) == third
    assert locate_store(third, env=environ) == third
    assert locate_store(third, third, env=environ) == third
    with pytest.raises(UsageError, match="two stores"):
        locate_store(third, second, env=environ)
    assert inside.is_dir()


def test_a_directory_inside_a_store_is_not_its_root(store: Store, inside: Path) -> None:
    """The error names the store and `--under`."""
    with pytest.raises(UsageError) as refused:
        locate_store(inside)
    assert refused.value.remedy == f"name the store: -C {store.root}; and narrow to the subtree: --under frames/job-1"
    for given in ({"option": inside}, {"env": {"INDEXER_STORE": str(inside)}}):
        with pytest.raises(UsageError):
            locate_store(**given)


def test_a_plain_directory_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4, and the command that makes it one."""
    monkeypatch.chdir(tmp_path)
    for start in (None, tmp_path):
        with pytest.raises(NoStoreError) as refused:
            locate_store(start, env={})
        assert refused.value.exit_code == 4
        assert f"indexer init {tmp_path}" in refused.value.remedy
    with pytest.raises(NoStoreError) as refused:
        store_of(tmp_path / "file", env={})
    assert str(tmp_path) not in refused.value.remedy, "a path that was named is no reason to make its directory a store"


def test_the_root_directory_is_no_store_and_is_not_proposed_as_one() -> None:
    """`init` would refuse it, so nobody is sent there."""
    with pytest.raises(NoStoreError) as refused:
        locate_store(Path("/"), env={})
    assert "init" not in refused.value.remedy


def test_a_configuration_alone_is_no_store_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by hand and not initialised: init keeps it."""
    (tmp_path / "indexer.toml").write_text("")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(NoStoreError) as refused:
        locate_store(env={})
    assert refused.value.remedy == f"indexer init {tmp_path} makes it one, and keeps the indexer.toml that is there"


@pytest.mark.parametrize(
    ("name", "said"), [("none", "does not exist"), ("file", "is not a directory"), ("a\0b", "null")]
)
def test_a_wrong_directory_is_a_usage_error(tmp_path: Path, name: str, said: str) -> None:
    """Missing, a file, or no name at all: exit 2."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=said):
        locate_store(tmp_path / name)


def test_a_deleted_current_directory_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to look above of."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="current directory is gone"):
        locate_store(env={})
    os.chdir("/")


def test_a_store_is_found_by_a_link_to_it(store: Store) -> None:
    """Its root is the real directory."""
    link = store.root.with_name("link")
    link.symlink_to(store.root.name)
    assert locate_store(link) == store.root


def test_a_configuration_elsewhere_names_its_store(store: Store, system: Path) -> None:
    """`--config`, `INDEXER_CONFIG`, and a file in /etc/indexer, also from inside the tree."""
    tree = store.root.with_name("tree")
    (tree / "below").mkdir(parents=True)
    file = system / "tree.toml"
    file.write_text(f'[store]\npath = "{tree}"\nstate = "{store.root.parent}/var"\n')
    initialise_store(tree)
    assert locate_store(config_path=file, env={}) == tree
    assert locate_store(env={"INDEXER_CONFIG": str(file)}) == tree
    assert locate_store(tree) == tree
    os.chdir(tree / "below")
    assert locate_store(env={}) == tree
    assert open_store(tree).config.path == file
    assert not (tree / "indexer.toml").exists()
    assert open_store(tree).control == tree / ".indexer"
    assert open_store(tree).state == store.root.parent / "var"


def test_a_configuration_elsewhere_that_cannot_be_understood_is_named(system: Path, tmp_path: Path) -> None:
    """A slip of the pen in /etc/indexer does not turn its store into a directory that is none."""
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (system / "tree.toml").write_text(f'[store]\npath = "{tree}"\nstate = "{tmp_path}/var"\n')
    (tmp_path / "var").mkdir(mode=0o700)
    assert locate_store(tree) == tree
    (system / "tree.toml").write_text(f'[store\npath = "{tree}"\n')
    os.chdir(tree / "below")
    for named in (tree, None):
        with pytest.raises(ConfigError) as refused:
            locate_store(named, env={})
        assert "tree.toml cannot be read as a configuration" in refused.value.message
        assert "config check" in refused.value.remedy


def test_a_flag_decides_the_root_before_the_file(store: Store, tmp_path: Path) -> None:
    """`-C DIR --config FILE`: the file's policy for that tree, and the source says so."""
    file = tmp_path / "policy.toml"
    file.write_text(f'[store]\npath = "{tmp_path}/elsewhere"\n[guards]\nmax_files = 3\n')
    assert locate_store(option=store.root, config_path=file) == store.root
    opened = open_store(store.root, config_path=file)
    assert opened.config.guards.max_files == 3
    assert (opened.config.store.path, opened.config.sources["store.path"]) == (store.root, "flag")


def test_a_configuration_in_the_tree_may_not_be_about_another_tree(store: Store) -> None:
    """It would take its policy along to wherever it says."""
    (store.root / "indexer.toml").write_text('[store]\npath = "/elsewhere"\n')
    with pytest.raises(ConfigError) as refused:
        open_store(store.root)
    assert refused.value.problems[0]["key"] == "store.path"


def test_a_configuration_that_cannot_be_understood_is_not_skipped(store: Store, system: Path) -> None:
    """It might be this store's: a store must not silently run by another policy. Those of other stores do no harm."""
    (system / "broken.toml").write_text("[store")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        open_store(store.root)
    (system / "mine.toml").write_text(f'[store]\npath = "{store.root}"\n')
    assert open_store(store.root).config.path == system / "mine.toml"
    (system / "broken.toml").write_text('[store]\npath = "/elsewhere"\nmode = "nonsense"\n')
    assert open_store(store.root).config.path == system / "mine.toml"


def test_an_untrusted_file_in_etc_is_not_skipped_either(store: Store, system: Path) -> None:
    """The same."""
    (system / "open.toml").write_text(f'[store]\npath = "{store.root}"\n')
    (system / "open.toml").chmod(0o666)
    with pytest.raises((ConfigError, TrustError)):
        open_store(store.root)


def test_a_missing_configuration_is_a_usage_error(store: Store, tmp_path: Path) -> None:
    """`--config` with a typing error must not mean "no policy"."""
    for attempt in (
        lambda: locate_store(config_path=tmp_path / "none.toml", env={}),
        lambda: open_store(store.root, config_path=tmp_path / "none.toml"),
        lambda: open_store(store.root, environ={"INDEXER_CONFIG": str(tmp_path / "none.toml")}),
    ):
        with pytest.raises(UsageError, match=r"none\.toml"):
            attempt()


def test_a_path_finds_its_own_store(store: Store, inside: Path) -> None:
    """Also when it is gone, and a link is an entry of the store it lies in."""
    second = other_store(store)
    (inside / "link").symlink_to(second)
    assert store_of(inside / "gone.jpg") == store.root
    assert store_of(Path("link")) == store.root
    assert store_of(second) == second
    assert store_of(inside / "link" / "x") == second
    with pytest.raises(NoStoreError):
        store_of(store.root.parent / "x")
