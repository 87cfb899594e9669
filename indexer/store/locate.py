"""Which store a command means: what was said first (`-C`, DIR, `INDEXER_STORE`, `--config`), else the nearest above."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from indexer.config.trust import shown
from indexer.errors import NoStoreError, UsageError
from indexer.store.places import (
    CONFIG,
    has_control,
    named_root,
    private_states,
    real_directory,
    system_config,
    system_configs,
)


def locate_store(
    start: Path | None = None,
    option: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    config_path: Path | None = None,
) -> Path:
    """Return the root of the store that is meant.

    `start` is a positional DIR, `option` the value of `-C`; both, and `INDEXER_STORE`, must be a store's root. Without
    them the store is the one that `--config` (`INDEXER_CONFIG`) names, else the nearest at or above the current
    directory. Raises UsageError for a directory that is no root, NoStoreError when there is no store, ConfigError when
    there is none and a file in /etc/indexer, which might be about it, cannot be understood.
    """
    environ = os.environ if env is None else env
    file = config_path or (Path(environ["INDEXER_CONFIG"]) if environ.get("INDEXER_CONFIG") else None)
    if start is not None and option is not None and real_directory(start) != real_directory(option):
        raise UsageError(f"two stores: {shown(start)} and -C {shown(option)}", remedy="name one of them")
    named = start or option or (Path(environ["INDEXER_STORE"]) if environ.get("INDEXER_STORE") else None)
    if named is not None:
        root = real_directory(named)
        return root if file is not None else _must_be_root(root, environ)
    if file is not None:
        return real_directory(config_root(file))
    return nearest_store(_current_directory(), environ)


def nearest_store(directory: Path, env: Mapping[str, str] | None = None, *, may_become: bool = True) -> Path:
    """Return the store at or above a directory (absolute, without symbolic links).

    Raises NoStoreError, whose remedy is `init` when the directory `may_become` a store.
    """
    environ = os.environ if env is None else env
    found = _at_or_above(directory, known_roots(environ))
    if found is not None:
        return found
    written = next((above for above in (directory, *directory.parents) if os.path.lexists(above / CONFIG)), None)
    if written is not None:
        remedy = f"indexer init {shown(written)} makes it one, and keeps the {CONFIG} that is there"
    elif may_become:
        remedy = f"indexer init {shown(directory)} makes one; -C DIR names another"
    else:
        remedy = "name a path in a store; `indexer init DIR` makes a tree one"
    system_config(directory)  # one that cannot be understood may be this tree's: that is what has to be said
    raise NoStoreError(f"no store at or above {shown(directory)}", remedy=remedy)


def store_of(path: Path, env: Mapping[str, str] | None = None) -> Path:
    """Return the store that a PATH operand lies in; the path itself may be gone. Raises NoStoreError, UsageError.

    The last component is not followed: a symbolic link is an entry of the store it lies in.
    """
    absolute = Path(os.path.abspath(path))
    if absolute.is_dir() and not absolute.is_symlink():
        return nearest_store(Path(os.path.realpath(absolute)), env, may_become=False)
    return nearest_store(Path(os.path.realpath(absolute.parent)), env, may_become=False)


def is_root(directory: Path, env: Mapping[str, str] | None = None) -> bool:
    """Say whether a directory (without symbolic links) is the root of a store that was initialised or configured."""
    return has_control(directory) or directory in known_roots(os.environ if env is None else env)


def known_roots(environ: Mapping[str, str]) -> frozenset[Path]:
    """Return the roots whose state or configuration lies elsewhere, so that the tree itself does not show them."""
    private = {Path(marker.root) for _, marker in private_states(environ)}
    return frozenset(private | set(system_configs()))


def config_root(file: Path) -> Path:
    """Return the root that a configuration names. Raises UsageError when it cannot be read, TrustError, ConfigError."""
    try:
        return named_root(file)
    except OSError as error:
        raise UsageError(f"{shown(file)}: {error.strerror}", remedy="name a configuration that you may read") from error


def _must_be_root(root: Path, environ: Mapping[str, str]) -> Path:
    known = known_roots(environ)
    if has_control(root) or root in known:
        return root
    above = _at_or_above(root, known)
    if above is not None:
        below = os.path.relpath(root, above)
        raise UsageError(
            f"{shown(root)} is not a store's root, it lies in the store {shown(above)}",
            remedy=f"name the store: -C {shown(above)}; and narrow to the subtree: --under {shown(Path(below))}",
        )
    if root == Path(root.anchor):
        raise NoStoreError(f"{shown(root)} is not a store", remedy="name the directory whose files you want to manage")
    system_config(root)
    raise NoStoreError(f"{shown(root)} is not a store", remedy=f"indexer init {shown(root)} makes it one")


def _at_or_above(directory: Path, known: frozenset[Path]) -> Path | None:
    for candidate in (directory, *directory.parents):
        if has_control(candidate) or candidate in known:
            return candidate
    return None


def _current_directory() -> Path:
    try:
        return Path(os.getcwd())
    except FileNotFoundError as error:
        raise UsageError("the current directory is gone", remedy="cd to one that exists, or use -C DIR") from error
