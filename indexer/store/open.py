"""From a root to an opened store: find its configuration and its control directory, obey neither blindly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from indexer.config import Config, load_config
from indexer.config.trust import shown
from indexer.errors import ConfigError, FilesystemError, IndexerError, NoStoreError, TrustError, UsageError
from indexer.store.identity import Marker, RootMissingError
from indexer.store.places import CONFIG, CONTROL, may_write, private_state, system_config
from indexer.store.store import Store, open_control

Overrides = Mapping[str, object]
"""Values of the command line by key: `{"store.backend": "native"}`."""


def open_store(
    path: Path,
    *,
    config_path: Path | None = None,
    overrides: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
    verify: bool = True,
) -> Store:
    """Open the store whose root is `path`.

    `config_path` is `--config`; `verify=False` opens a store whose root has vanished or changed too, for those who
    only want to say so. Raises NoStoreError, TrustError, ConfigError, UsageError, FilesystemError.
    """
    environ = os.environ if environ is None else environ
    root = Path(os.path.realpath(path))
    if verify and not root.is_dir():
        raise RootMissingError(f"{shown(root)}, the root of a store, is not there", remedy="mount it, or move it back")
    config = read_store_config(root, config_path=config_path, overrides=overrides, environ=environ)
    control, marker = find_control(root, config, environ)
    state = _state(control, marker, config)
    store = as_store(root, config, control, marker, state)
    if verify:
        os.close(store.open_root())
    return store


def as_store(root: Path, config: Config, control: Path, marker: Marker, state: Path) -> Store:
    """Put a store together, in report mode where the caller cannot write to the tree."""
    reason = ""
    if control != root / CONTROL and config.store.state is None:
        reason = f"{shown(root)} was not writable for you when its index was made; run init again if it is now"
    elif not may_write(root):
        reason = f"{shown(root)} is not writable for you"
    if reason and config.store.mode != "report":
        sources = {**config.sources, "store.mode": "forced: the tree is not writable"}
        config = replace(config, store=replace(config.store, mode="report"), sources=sources)
    return Store(root, marker.id, control, state, config, marker, reason)


def find_config(root: Path, *, config_path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file of a store, None when there is none.

    In this order: `--config`, `INDEXER_CONFIG`, the file in /etc/indexer that names the store, `indexer.toml` in its
    root, the one in the caller's private state for it.
    """
    if config_path is not None:
        return Path(os.path.abspath(config_path))
    if environ.get("INDEXER_CONFIG"):
        return Path(os.path.abspath(environ["INDEXER_CONFIG"]))
    if (system := system_config(root)) is not None:
        return system
    if os.path.lexists(root / CONFIG):
        return root / CONFIG
    state = private_state(root, environ) if root.is_dir() else None
    return state / CONFIG if state is not None and os.path.lexists(state / CONFIG) else None


def read_store_config(
    root: Path,
    *,
    config_path: Path | None = None,
    overrides: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the effective configuration of the store at `root` (a real path).

    A file that lies in the tree is obeyed only if nobody but root and the caller can replace it. Raises TrustError
    with the way out, ConfigError, UsageError when the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    file = find_config(root, config_path=config_path, environ=environ)
    if file is None:
        return replace_path(load_config(None, store_path=root, flags=overrides, environ=environ), root, "default")
    try:
        config = load_config(file, flags=overrides, environ=environ)
    except TrustError as error:
        if file == root / CONFIG:
            raise outside_of_tree(error) from error
        raise
    except OSError as error:
        raise UsageError(
            f"{shown(file)}: {error.strerror}", remedy="name a configuration that you may read: --config FILE"
        ) from error
    named = Path(os.path.realpath(config.store.path))
    if named != root and file == root / CONFIG:
        message = f"says that the store is {shown(named)}, but lies in {shown(root)}"
        remedy = "remove `path`; or move the file out of the tree and name it with --config"
        problem = {"file": shown(file), "key": "store.path", "message": message, "remedy": remedy}
        raise ConfigError(f"{shown(file)}: store.path {message}", remedy=remedy, problems=(problem,))
    return replace_path(config, root, "flag" if named != root else config.sources["store.path"])


def replace_path(config: Config, root: Path, source: str) -> Config:
    """Return the configuration with its store's real path."""
    sources = {**config.sources, "store.path": source}
    return replace(config, store=replace(config.store, path=root), sources=sources)


def find_control(root: Path, config: Config, environ: Mapping[str, str]) -> tuple[Path, Marker]:
    """Return the control directory of a store, with its marker.

    `.indexer` in the root if it may be trusted; else `[store] state`; else the caller's private state. Raises
    NoStoreError, TrustError, FilesystemError.
    """
    state = config.store.state or (private_state(root, environ) if root.is_dir() else None)
    refused: IndexerError | None = None
    try:
        return open_control(root / CONTROL)
    except (FileNotFoundError, NotADirectoryError, NoStoreError):
        pass
    except TrustError as error:
        refused = outside_of_tree(error)
    except FilesystemError as error:
        refused = error
    if state is not None:
        try:
            return open_control(Path(os.path.realpath(state)))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoStoreError(
                f"{shown(state)}, the store's state, is not there",
                remedy=f"is its filesystem mounted? Else: indexer init {shown(root)}",
            ) from error
    if refused is not None:
        raise refused
    raise NoStoreError(f"{shown(root)} is not a store", remedy=f"indexer init {shown(root)} makes it one")


def _state(control: Path, marker: Marker, config: Config) -> Path:
    """Return where the databases lie; a state of its own must be there, and be this store's."""
    if config.store.state is None:
        return control
    state = Path(os.path.realpath(config.store.state))
    if state == control:
        return control
    remedy = "is its filesystem mounted? If `state` is new: stop the service, then indexer init moves the databases"
    try:
        other = open_control(state)[1]
    except (FileNotFoundError, NotADirectoryError, NoStoreError) as error:
        raise FilesystemError(f"{shown(state)} does not hold this store's state", remedy=remedy) from error
    if other.id != marker.id:
        raise FilesystemError(
            f"{shown(state)} is the state of another store ({shown(Path(other.root))})",
            remedy="give each store a [store] state of its own",
        )
    return state


def outside_of_tree(error: TrustError) -> TrustError:
    """Return the error with the way out that always works: keep what must be trusted where strangers cannot write."""
    where = "/etc/indexer/NAME.toml" if os.geteuid() == 0 else "FILE"
    remedy = (
        f"{error.remedy}; or keep both out of the tree: `indexer init DIR --config {where}` "
        f"writes a configuration with [store] path and state"
    )
    return TrustError(error.message, remedy=remedy)
