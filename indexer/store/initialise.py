"""Make a directory a store: its control directory with the marker, and a configuration if there is none."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.config.trust import PATH, open_place, shown
from indexer.errors import FilesystemError, TrustError, UsageError
from indexer.store import places
from indexer.store.control import make_control, make_marker
from indexer.store.nested import refuse_nested, refuse_second
from indexer.store.open import find_config, open_store, read_store_config
from indexer.store.places import CONFIG, CONTROL, real_directory, state_home

if TYPE_CHECKING:
    from indexer.store.store import Store

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""What link(2) says on filesystems that have none (FAT, some of FUSE)."""
SYSTEM_STATE = Path("/var/lib/indexer")
"""Where `init --config FILE` by root puts the state of a tree in which others could replace it."""


def initialise_store(
    path: Path,
    profile: str | None = None,
    *,
    index_only: bool = False,
    config_path: Path | None = None,
    adopt: bool = False,
    settle: Callable[[Store], None] | None = None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Store:
    """Make `path` a store and open it; a store already made is opened as it is, and nothing is ever overwritten.

    Writes a configuration from `profile` (without one: proposed from what lies in the tree) unless there is one, or
    `index_only`. It goes to `config_path` if given, else to `indexer.toml` in the root. A tree that the caller cannot
    write to gets its state in `$XDG_STATE_HOME/indexer/ID` and is never removed from. `adopt` gives a tree that was
    copied or restored together with its control directory a new id, drops the index (the ledger stays), and takes the
    trashes along, under the store's locks; before any of that `settle` gets the store as it was, whose root is what is
    there now, and may raise.

    Raises UsageError (`/`, nested, another store's, missing, profile refused), TrustError, ConfigError, BusyError,
    FilesystemError.
    """
    environ = os.environ if environ is None else environ
    _known(profile)
    root = real_directory(path)
    refuse_nested(root, environ)
    wanted = find_config(root, config_path=config_path, environ=environ)
    existing = wanted if wanted is not None and os.path.lexists(wanted) else None
    if existing is not None and profile is not None:
        raise UsageError(
            f"{shown(existing)} exists and is never overwritten",
            remedy="edit it, or move it away and run init again",
        )
    if wanted is not None and existing is None:
        if index_only:
            raise UsageError(
                f"{shown(wanted)} does not exist", remedy=f"indexer init --config {shown(wanted)} writes it"
            )
        state = _outside_state(root, wanted, environ)
        refuse_second(root, state, wanted, environ)
        _write_config(wanted, _text(root, profile, path=root, state=state))
        config = read_store_config(root, config_path=wanted, environ=environ)
    else:
        config = read_store_config(root, config_path=existing, environ=environ)
        refuse_second(root, config.store.state, existing, environ)
    control = make_control(root, config.store.state, environ)
    make_marker(root, control, config, adopt=adopt, settle=settle)
    if wanted is None and not index_only:
        in_tree = control == root / CONTROL
        _write_config((root if in_tree else control) / CONFIG, _text(root, profile, path=None if in_tree else root))
    return open_store(root, config_path=config_path, overrides=overrides, environ=environ)


def _known(profile: str | None) -> None:
    from indexer.config.profiles import PROFILES

    if profile is not None and profile not in PROFILES:
        raise UsageError(f'there is no profile "{profile}"', remedy=f"profiles: {', '.join(PROFILES)}")


def _text(root: Path, profile: str | None, *, path: Path | None, state: Path | None = None) -> str:
    from indexer.config.profiles import PROFILES, configuration
    from indexer.config.propose import propose

    try:
        chosen = PROFILES[profile] if profile is not None else propose(root)
    except PermissionError as error:
        raise FilesystemError(
            f"{shown(root)} cannot be read: {error.strerror}", remedy="run as a user who may read it"
        ) from error
    return configuration(chosen, path=path, state=state)


def _outside_state(root: Path, file: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the state that a configuration outside of the tree must name, None where the root will do."""
    try:
        os.close(open_place(root))
    except TrustError:
        return (SYSTEM_STATE if os.geteuid() == 0 else state_home(environ)) / file.stem
    return None


def _write_config(file: Path, text: str) -> None:
    """Write a new configuration, 0600 whatever the umask; one that appeared meanwhile stays as it is.

    It appears whole or not at all: half of a policy, read by a process that starts now, would be another policy.
    """
    partial = f".{file.name}.{os.getpid()}-{threading.get_ident()}"
    try:
        if file.parent == places.SYSTEM and not places.SYSTEM.exists():
            places.SYSTEM.mkdir()
            places.SYSTEM.chmod(0o755)  # whatever the umask
        directory = os.open(file.parent, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _write_beside(directory, partial, text)
            _appear(directory, partial, file.name)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=directory)
            os.close(directory)
    except OSError as error:
        missing = not file.parent.is_dir()
        raise FilesystemError(
            f"{shown(file)} cannot be written: {error.strerror}",
            remedy=f"{f'mkdir {shown(file.parent)}' if missing else 'make room'}, or name another place: --config FILE",
        ) from error


def _write_beside(directory: int, partial: str, text: str) -> None:
    with open(os.open(partial, _NEW, 0o600, dir_fd=directory), "w", encoding="utf-8") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def _appear(directory: int, partial: str, name: str) -> None:
    """Give a complete file its name, unless something has that name already. Raises OSError."""
    try:
        os.link(partial, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
