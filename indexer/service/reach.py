"""A store for whoever asks: opened where the databases are his, else reached over the socket of its service."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.config.trust import shown
from indexer.errors import IndexerError, ServiceError, TrustError, UsageError
from indexer.service.running import SOCKET
from indexer.store import open_store
from indexer.store.identity import Marker, PrivateStoreError
from indexer.store.open import find_config, find_control, read_store_config
from indexer.store.places import CONTROL, named_state
from indexer.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indexer.config import Config
    from indexer.config.model import Mode

VARIABLE = "INDEXER_SOCKET"
"""Names the socket for those who may neither read the configuration nor find it below /run."""


def open_or_reach(
    root: Path,
    *,
    config_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    verify: bool = True,
) -> Store:
    """Open the store at `root`; where its control directory is another user's, reach it through his service.

    Raises what `open_store` raises when no service answers this caller, ServiceError when one answers and refuses.
    """
    try:
        return open_store(root, config_path=config_path, overrides=overrides, verify=verify)
    except (PrivateStoreError, TrustError, UsageError) as error:
        hidden = isinstance(error, UsageError) and isinstance(error.__cause__, PermissionError)
        if os.geteuid() == 0 or (isinstance(error, UsageError) and not hidden):
            raise
        reached = _reach(Path(os.path.realpath(root)), config_path)
        if reached is None:
            raise
        return reached


def reach_by_its_service(root: Path, *, config_path: Path | None = None) -> Store | None:
    """Reach a store whose configuration is not valid now through its service, which goes by what was in force before.

    None where none is found that says it is the service of this very root: nothing that the file says is believed.
    """
    root = Path(os.path.realpath(root))
    try:
        return _own(root, config_path)
    except (IndexerError, OSError):
        pass  # the configuration is what there is to complain about
    try:
        return None if os.geteuid() == 0 else _reach(root, config_path)
    except (IndexerError, OSError):
        return None


def _own(root: Path, config_path: Path | None) -> Store | None:
    """Find the control directory, as its owner, without the configuration but for the state that it names."""
    from indexer.config import default_config
    from indexer.service.client import asked

    config = default_config(root)
    with suppress(IndexerError, OSError):  # one in /etc/indexer that is no TOML
        file = find_config(root, config_path=config_path, environ=os.environ)
        if file is not None and (named := named_state(file)) is not None:
            config = replace(config, store=replace(config.store, state=named))
    control, marker = find_control(root, config, os.environ)
    said, _ = asked(control / SOCKET)
    if (said.get("id"), said.get("root")) != (marker.id, os.fspath(root)):
        return None
    mode: Mode = "enforce" if said.get("mode") == "enforce" else "report"
    told = replace(config, store=replace(config.store, mode=mode))
    state = Path(marker.state) if marker.state else control
    return Store(root, marker.id, control, state, told, marker, socket=control / SOCKET)


def _reach(root: Path, config_path: Path | None) -> Store | None:
    from indexer.service.client import NoServiceError, asked

    config = _readable_config(root, config_path)
    for socket in _sockets(root, config):
        try:
            said, peer = asked(socket)
        except NoServiceError:
            continue
        if peer.uid not in _believed(root, socket):
            raise ServiceError(
                f"{peer.name}, who answers at {shown(socket)}, is neither root nor the owner of {shown(root)}",
                remedy=f"if it is the right one, name its socket in a directory of his: {VARIABLE}=PATH",
            )
        if said.get("root") == os.fspath(root):
            return _as_store(root, socket, said, config)
    return None


def _readable_config(root: Path, config_path: Path | None) -> Config | None:
    try:
        return read_store_config(root, config_path=config_path)
    except (IndexerError, OSError):
        return None


def _sockets(root: Path, config: Config | None) -> Iterator[Path]:
    from indexer.service.shared import runtime_directory

    if named := os.environ.get(VARIABLE):
        yield Path(os.path.abspath(named))
    if config is not None and config.service.socket is not None:
        yield config.service.socket
    yield runtime_directory(os.fsencode(root)) / SOCKET


def _believed(root: Path, socket: Path) -> set[int]:
    """Return whose word counts about a tree: root's, ours, its owner's, and his in whose directory the socket lies."""
    believed = {0, os.geteuid()}
    for path in (root, root / CONTROL, socket.parent):
        try:
            seen = os.stat(path)
        except OSError:
            continue
        if path != socket.parent or not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            believed.add(seen.st_uid)
    return believed


def _as_store(root: Path, socket: Path, said: dict[str, Any], config: Config | None) -> Store:
    from indexer.config import default_config

    known = config or default_config(root)
    mode: Mode = "enforce" if said.get("mode") == "enforce" else "report"
    marker = Marker(str(said.get("id", "")), os.fspath(root), "", 0, "", "", 0)
    told = replace(known, store=replace(known.store, path=root, mode=mode))
    return Store(root, marker.id, root / CONTROL, root / CONTROL, told, marker, socket=socket)
