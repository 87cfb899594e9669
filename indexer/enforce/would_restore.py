"""What a restore would do now: its steps up to the first that changes anything."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from indexer.enforce.homes import home_of, open_home
from indexer.enforce.places import Places, StoreLike, beside, describe, split
from indexer.enforce.restore import Restored, RestoreResult, as_ones, in_trash, nothing_there, selected
from indexer.errors import TrustError
from indexer.syscalls.stat import exists_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.origins import Facts
    from indexer.enforce.rows import Action

    Origins = Callable[[int, int | None], list[Facts]]


def would_restore(
    *,
    store: StoreLike,
    root_fd: int,
    ledger: Ledger,
    paths: Sequence[bytes] = (),
    run: int | None = None,
    to_fd: int | None = None,
    fresh: bool = False,
) -> RestoreResult:
    """Return what `enforce.restore.restore` would return now, without a run; nothing is locked, changed or recorded.

    `fresh`: `to_fd` is only where the directory would be made, in which all names will be free. What an unfinished run
    has left in the trash, which a restore would settle first, is not foreseen.
    """
    actions, nothing = selected(ledger, paths=paths, run=run)
    errors = nothing_there(actions, nothing, paths, run)
    found: list[Restored] = []
    origins = functools.lru_cache(64)(ledger.origins)  # neighbours come one after the other
    with Places(root_fd, store) as places:
        for action in actions:
            try:
                found.append(Restored(action.path, _target(places, origins, action, to_fd, fresh=fresh)))
            except (OSError, TrustError) as error:
                errors.append((action.path, describe(error)))
    return RestoreResult(None, tuple(as_ones(actions, found)), tuple(errors))


def _target(places: Places, origins: Origins, action: Action, to_fd: int | None, *, fresh: bool) -> bytes:
    """Return where an object would be; raise what would keep it in the trash."""
    place, _, st = in_trash(places, action, to_fd)
    if fresh:
        return action.path
    directory, name = split(action.path)
    prefix = b"" if to_fd is not None or not place.base else place.base + b"/"
    base_fd = place.base_fd if to_fd is None else to_fd
    try:
        fd = open_home(base_fd, prefix, directory[len(prefix) :], home_of(origins, action, st))
    except FileNotFoundError:
        return action.path  # its directory is made again
    try:
        free = next((candidate for candidate in beside(name) if not exists_at(fd, candidate)), name)
    finally:
        os.close(fd)
    return directory + b"/" + free if directory else free
