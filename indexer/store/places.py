"""Where stores keep their configuration and their state, and which directories are known to be stores."""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from indexer.config import read_config, read_trusted
from indexer.config.trust import PATH, shown
from indexer.errors import ConfigError, FilesystemError, IndexerError, UsageError
from indexer.store.identity import MARKER, Marker, difference, parse_marker

CONTROL = ".indexer"
CONFIG = "indexer.toml"
SYSTEM = Path("/etc/indexer")
"""`*.toml` here name their store by `[store] path`: configurations that lie outside of any tree."""


def real_directory(path: Path) -> Path:
    """Return the path of an existing directory without symbolic links.

    Raises UsageError when it is missing or something else, FilesystemError when it may not be looked at.
    """
    try:
        real = Path(os.path.realpath(path, strict=True))
        if real.is_dir():
            return real
    except FileNotFoundError as error:
        raise UsageError(f"{shown(path)} does not exist", remedy="name an existing directory") from error
    except NotADirectoryError:
        pass
    except PermissionError as error:
        raise FilesystemError(f"{shown(path)}: permission denied", remedy="run as a user who may enter it") from error
    except (OSError, ValueError) as error:  # ELOOP, ENAMETOOLONG, EIO …; a NUL
        raise UsageError(f"{shown(path)}: {error}", remedy="name an existing directory") from error
    raise UsageError(f"{shown(path)} is not a directory", remedy="name a directory")


def may_write(directory: Path) -> bool:
    """Say whether the caller may make and remove names in a directory; False on a read-only filesystem."""
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def state_home(environ: Mapping[str, str]) -> Path:
    """Return where the states of trees lie that their user may not write to: `$XDG_STATE_HOME/indexer`."""
    chosen = environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: relative paths are invalid and ignored.
    base = Path(chosen) if os.path.isabs(chosen) else _home(environ) / ".local" / "state"
    return base / "indexer"


def _home(environ: Mapping[str, str]) -> Path:
    """Return the caller's own home: `HOME`, unless it is somebody else's (sudo may keep the one of who called it)."""
    home = Path(environ.get("HOME") or "/nonexistent")
    try:
        if os.stat(home).st_uid == os.geteuid():
            return home
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except (FileNotFoundError, NotADirectoryError, PermissionError, KeyError):
        return home


def private_states(environ: Mapping[str, str]) -> Iterator[tuple[Path, Marker]]:
    """Yield (directory, marker) of every state below `state_home`; damaged ones are for `open_store` to refuse."""
    home = state_home(environ)
    try:
        names = sorted(os.listdir(home))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in names:
        path = home / name / MARKER
        try:
            yield home / name, parse_marker(path.read_bytes(), path)
        except (FileNotFoundError, NotADirectoryError, PermissionError, FilesystemError):
            continue


def private_state(root: Path, environ: Mapping[str, str], *, exact: bool = False) -> Path | None:
    """Return the caller's private state for the tree at `root`, None when there is none.

    Where several trees have been at that path (a mount point), the one that is there now; `exact`: only that one.
    """
    found = [(path, marker) for path, marker in private_states(environ) if marker.root == os.fspath(root)]
    if not found:
        return None
    fd = os.open(root, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        there = next((path for path, marker in found if not difference(marker, fd)), None)
    finally:
        os.close(fd)
    return there if there or exact else found[0][0]


def system_configs() -> dict[Path, Path]:
    """Return store -> file for every configuration in /etc/indexer that can be read.

    Files that cannot are left out: `system_config` says so where it matters.
    """
    return {store: file for file, store in _system_stores() if store is not None}


def system_config(root: Path) -> Path | None:
    """Return the file in /etc/indexer whose `[store] path` is `root`, None when there is none.

    Raises ConfigError when none is, but one of them cannot be understood: it might be this store's, and a store must
    not silently run without its policy.
    """
    unclear = None
    for file, store in _system_stores():
        if store == root:
            return file
        unclear = unclear or (file if store is None else None)
    if unclear is not None:
        raise ConfigError(
            f"{shown(unclear)} cannot be read as a configuration, so it is not known whether it is for {shown(root)}",
            remedy=f"see `indexer config check {shown(unclear)}`; or name the configuration with --config",
        )
    return None


def _system_stores() -> Iterator[tuple[Path, Path | None]]:
    """Yield (file, real path of its store, None when the file cannot be understood)."""
    try:
        names = sorted(name for name in os.listdir(SYSTEM) if name.endswith(".toml"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in names:
        try:
            yield SYSTEM / name, named_root(SYSTEM / name)
        except PermissionError:
            continue  # not for this user
        except (IndexerError, OSError):
            yield SYSTEM / name, None


def named_root(file: Path) -> Path:
    """Return the root that a configuration file names (its own directory by default), whatever else it says.

    Raises TrustError, ConfigError, OSError.
    """
    content = read_trusted(file)[0]
    try:
        return _named(file, content, "path", ".")
    except _NOT_TOLD:
        # Says all that is wrong, as a ConfigError.
        return Path(os.path.realpath(read_config(content, path=file, environ={}).store.path))


def named_state(file: Path) -> Path | None:
    """Return the `[store] state` that a configuration file names, whatever else it says; None where it does not.

    Raises TrustError, OSError.
    """
    try:
        return _named(file, read_trusted(file)[0], "state", None)
    except _NOT_TOLD:
        return None


_NOT_TOLD = (ValueError, AttributeError, TypeError, RecursionError)


def _named(file: Path, content: bytes, key: str, default: str | None) -> Path:
    named = tomllib.loads(content.decode("utf-8-sig")).get("store", {}).get(key, default)
    return Path(os.path.realpath(Path(os.path.abspath(file)).parent / named))


def has_control(directory: Path) -> bool:
    """Say whether there is a control directory with a marker, or one that the caller may not look into."""
    for path in (directory / CONTROL / MARKER, directory / CONTROL):
        try:
            os.lstat(path)
        except PermissionError:
            continue  # is it the control directory that is closed, or the directory itself?
        except OSError:  # ENOENT, ENOTDIR; ELOOP, ENAMETOOLONG, EIO: nothing that could be opened as a store
            return False
        return True
    return False
