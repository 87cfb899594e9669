"""One tree, one store: what two of them manage would be counted, aged and removed twice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from indexer.config import load_config
from indexer.config.trust import PATH, shown
from indexer.errors import FilesystemError, IndexerError, UsageError
from indexer.store.identity import MARKER, Marker, difference, parse_marker
from indexer.store.locate import known_roots
from indexer.store.own import other_stores
from indexer.store.places import CONTROL, has_control, private_state, system_configs
from indexer.store.store import refuse_other

MOST_ENTRIES = 1000
"""Entries looked at in one directory, and directories looked into: two levels, so that init stays instant."""


def refuse_nested(root: Path, environ: Mapping[str, str]) -> None:
    """Raise UsageError for `/`, for a directory inside a store, and for one that holds a store.

    Above is looked at to the top. Below: stores whose configuration or state lies elsewhere are known wherever they
    are; others are looked for on the first two levels only, since a complete search is a scan.
    """
    if root == Path("/"):
        raise UsageError("/ cannot be a store", remedy="name the directory whose files you want to manage")
    known = known_roots(environ) - {root}
    for above in root.parents:
        if above in known or (has_control(above) and _plausible(above)) or other_stores(above, ()):
            raise UsageError(
                f"{shown(root)} lies in the store {shown(above)}",
                remedy=f"stores are not nested: write a class for it in that store, or use -C {shown(above)} "
                f"--under {shown(root.relative_to(above))}",
            )
    below = next((other for other in sorted(known) if other.is_relative_to(root)), None) or next(_below(root), None)
    if below is not None:
        raise UsageError(
            f"{shown(root)} holds the store {shown(below)}",
            remedy="stores are not nested: choose another directory, or remove that store's control directory first",
        )


def refuse_second(root: Path, state: Path | None, wanted: Path | None, environ: Mapping[str, str]) -> None:
    """Raise UsageError when the root is the store of another configuration, with a state of its own.

    `state` and `wanted` are what this one says: the directory of its databases and its own file. A store shows in the
    tree by the directory around its trash, or by a file in /etc/indexer.
    """
    places = (root / CONTROL, state, private_state(root, environ))
    markers = [marker for place in places if place is not None and (marker := _marker_in(place)) is not None]
    ids = {marker.id for marker in markers} | {marker.adopted_from for marker in markers}
    refuse_other(root, ids)
    file = system_configs().get(root)
    if file is None or file == wanted:
        return
    try:
        other = load_config(file, environ=environ).store.state
    except (IndexerError, OSError):
        return  # said by those who need it
    made = _marker_in(other) if other is not None else None
    if made is not None and made.root == os.fspath(root) and made.id not in ids:
        raise UsageError(
            f"{shown(root)} is a store already: {shown(file)} has it, with its state in {shown(Path(str(other)))}",
            remedy=f"one tree is one store: put the classes into {shown(file)}, or name the same state",
        )


def _marker_in(directory: Path) -> Marker | None:
    path = directory / MARKER
    try:
        return parse_marker(path.read_bytes(), path)
    except (OSError, FilesystemError):
        return None


def _plausible(directory: Path) -> bool:
    """False for a control directory that a stranger has put into a directory everybody may write to (`/tmp`)."""
    owner = os.lstat(directory / CONTROL).st_uid
    return owner in {0, os.geteuid(), os.stat(directory).st_uid}


def _below(root: Path) -> Iterator[Path]:
    for child in _directories(os.fspath(root)):
        if os.path.basename(child) == CONTROL:
            continue
        for candidate in (child, *_directories(child)):
            # Text until something is there: up to a million directories are asked, and a Path of each takes seconds.
            if _has_entry(candidate) and _is_store(Path(candidate)):
                yield Path(candidate)


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in islice(entries, MOST_ENTRIES) if entry.is_dir(follow_symlinks=False)]
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return []


def _has_entry(directory: str) -> bool:
    try:
        os.lstat(f"{directory}/{CONTROL}")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # closed to us, or odd: `_is_store` says what that means
    return True


def _is_store(directory: Path) -> bool:
    """True for a store; false for the copy of one, whose marker is about another directory."""
    if not has_control(directory):
        return False
    try:
        marker = parse_marker((directory / CONTROL / MARKER).read_bytes(), directory / CONTROL / MARKER)
        fd = os.open(directory, PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (PermissionError, FilesystemError):
        return True  # private, or damaged: somebody's store all the same
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not difference(marker, fd)
    finally:
        os.close(fd)
