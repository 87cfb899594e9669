"""The trash: what lies in it, and its end. Only what the ledger knows is ever destroyed."""

from __future__ import annotations

import functools
import os
import stat
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from indexer.enforce import hooks
from indexer.enforce.pace import Pace
from indexer.enforce.patience import Patience
from indexer.enforce.places import Places, StoreLike, describe
from indexer.enforce.recover import recover
from indexer.enforce.who import current_user
from indexer.errors import TrustError
from indexer.syscalls.stat import stat_at
from indexer.syscalls.sync import sync_filesystem
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.protection import Protection
    from indexer.enforce.rows import Action

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """The result of `trash empty`."""

    run: int | None = None
    files_removed: int = 0
    bytes_freed: int = 0
    errors: tuple[tuple[bytes, str], ...] = ()
    kept: dict[str, int] = field(default_factory=dict)
    """What a hold or a lease covers, by word."""

    def as_json(self) -> dict[str, Any]:
        """Return the document of `trash empty --json`."""
        return {
            "run": self.run,
            "files_removed": self.files_removed,
            "bytes_freed": self.bytes_freed,
            "errors": [{"path": text_of(path), "error": error} for path, error in self.errors],
            "kept": dict(sorted(self.kept.items())),
        }


def purgeable(ledger: Ledger, *, now: int, older_than: int | None = None, everything: bool = False) -> list[Action]:
    """Return what a purge at `now` (Unix seconds) would destroy, the oldest first.

    Without more: what is past its restorable_until. `older_than`: what was trashed more than that many seconds ago.
    `everything`: all of it, with the strays (which lie in the trash against the run's will) only then.
    """
    if not everything and older_than is None:
        return list(ledger.trash(until=now))
    chosen = list(ledger.trash())
    if everything:
        return chosen
    return [
        action
        for action in chosen
        if action.outcome != "stray" and action.at is not None and now - action.at > (older_than or 0)
    ]


def unprotected(
    ledger: Ledger, actions: Iterable[Action], now: float, kept: Counter[str] | None = None
) -> Iterator[Action]:
    """Yield those of the trash that no hold and no lease covers at `now` (Unix seconds); count the others in `kept`."""
    protection = ledger.protection(now)
    for action in actions:
        word = _covered(protection, action)
        if word is None:
            yield action
        elif kept is not None:
            kept[word] += 1


def _covered(protection: Protection, action: Action) -> str | None:
    """Return the word for what covers the path that it had: in the trash lies the only copy of it."""
    word = protection.blocker(action.path)
    if word is None and action.action == "rmdir":
        word = protection.inside(action.path)
    return word


def purge_trash(
    *,
    store: StoreLike,
    root_fd: int,
    ledger: Ledger,
    now: Callable[[], float],
    older_than: int | None = None,
    everything: bool = False,
    trigger: str = "command",
    user: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    patience: Patience | None = None,
    only: Sequence[Action] | None = None,
) -> PurgeResult:
    """Destroy what `purgeable` chooses, or exactly `only` these. The caller holds the run lock.

    Each batch is announced in the ledger first. An object in the trash that is not the recorded one stays and is named
    in `errors`. Raises LedgerError.
    """
    with ExitStack() as stack:
        places = stack.enter_context(Places(root_fd, store))
        recover(places=places, ledger=ledger, now=now)
        chosen = (
            list(only)
            if only is not None
            else purgeable(ledger, now=int(now()), older_than=older_than, everything=everything)
        )
        kept = Counter[str]()
        chosen = list(unprotected(ledger, chosen, now(), kept))
        if not chosen:
            return PurgeResult(kept=kept)
        config = store.config
        run = ledger.begin_run(
            "purge",
            trigger,
            user=user or current_user(),
            mode=config.store.mode,
            policy=config.fingerprint,
            now=now(),
            planned=len(chosen),
        )
        patience = patience or Patience()
        files, freed = 0, 0
        errors: list[tuple[bytes, str]] = []
        pace = Pace(config.guards.max_rate if only is None else None, stop)  # `only`: under a watermark
        size = pace.batch(_BATCH)
        for start in range(0, len(chosen), size):
            if stop():
                break
            batch = chosen[start : start + size]
            ledger.leaving(run, "purging", [(None, action.run, action.seq) for action in batch])
            # After the announcement: whoever holds a path now either sees it, or is seen here.
            protection = ledger.protection(now())
            rows: list[tuple[str, str | None, int | None, bytes | None, int, int]] = []
            for action in batch:
                if (word := _covered(protection, action)) is not None:
                    kept[word] += 1
                    rows.append(_stays(action))
                    continue
                try:
                    gave = patience.call(functools.partial(_destroy, places, action))
                except (OSError, TrustError) as error:
                    errors.append((action.path, describe(error)))
                    rows.append(_stays(action))
                    continue
                if gave is None:
                    rows.append(("unknown", "it was not in the trash", int(now()), None, action.run, action.seq))
                    continue
                files, freed = files + 1, freed + gave
                rows.append(("purged", None, int(now()), None, action.run, action.seq))
            ledger.left(rows)
            pace.spend(len(batch))
        for place in places.places:
            if place.trash_fd >= 0:
                sync_filesystem(place.trash_fd)
        result = PurgeResult(run, files, freed, tuple(errors), kept)
        ledger.finish_run(run, now(), result.as_json())
    return result


def _stays(action: Action) -> tuple[str, str | None, int | None, bytes | None, int, int]:
    """Return the row that takes an announcement back."""
    return (action.outcome or "trashed", action.error, None, None, action.run, action.seq)


def _destroy(places: Places, action: Action) -> int | None:
    """Unlink one object from the trash when it is the recorded one; return the allocated bytes that gave back.

    None where there is no such object: somebody who may reach in here, or a ledger older than the trash.
    """
    place = places.named(action.filesystem)
    if place is None:
        raise FileNotFoundError(2, f"its filesystem {action.filesystem} is not mounted")
    trash_fd = place.open_trash(create=False)
    name = (action.trash_name or "").encode()
    hooks.at("purge.before", name)
    try:
        st = stat_at(trash_fd, name)
    except FileNotFoundError:
        return None
    if (st.inode, st.btime_ns) != action.identity and not place.overlay:
        raise OSError(116, "the object in the trash is not the one that was put there")
    if stat.S_ISDIR(st.mode):  # one that went in one piece and could not come back
        import shutil  # loads what unpacks archives, too

        shutil.rmtree(name, dir_fd=trash_fd)
        return 0
    os.unlink(name, dir_fd=trash_fd)
    hooks.at("purge.after", name)
    return st.blocks * 512 if st.links == 1 else 0
