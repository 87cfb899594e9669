"""Undo: what lies in the trash comes back by a rename, so content, times, mode, owner and xattrs are what they were."""

from __future__ import annotations

import errno
import functools
import itertools
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.enforce import hooks
from indexer.enforce.homes import Home, home_of
from indexer.enforce.patience import Patience
from indexer.enforce.places import Place, Places, StoreLike, beside, describe, split
from indexer.enforce.rebuild import Rebuilder
from indexer.enforce.recover import recover
from indexer.enforce.who import current_user
from indexer.errors import TrustError
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import FileStat, exists_at, stat_at, stat_fd
from indexer.syscalls.sync import sync_filesystem
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.rows import Action

_OTHER_FILESYSTEM = (
    "DIR lies on another filesystem than the trash, out of which files are renamed: name one on the same"
)
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Restored:
    """One file that came back."""

    path: bytes
    """What it was called."""
    to: bytes
    """Where it is now: the same, or beside it when something else had taken the name; relative to the store, or to
    the directory of `--to`."""
    files: int | None = None
    """It is a child directory that went as one, with so many files; None: a file."""

    @property
    def beside(self) -> bool:
        """True when its own name was taken."""
        return self.to != self.path

    def as_json(self) -> dict[str, Any]:
        """Return one element of `restore --json`'s `restored`."""
        whole = {} if self.files is None else {"unit": "child", "files": self.files}
        return {"path": text_of(self.path), "to": text_of(self.to), "beside": self.beside, **whole}


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of `restore`."""

    run: int | None
    restored: tuple[Restored, ...]
    errors: tuple[tuple[bytes, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the document of `restore --json`."""
        return {
            "run": self.run,
            "restored": [one.as_json() for one in self.restored],
            "errors": [{"path": text_of(path), "error": error} for path, error in self.errors],
        }


def selected(
    ledger: Ledger, *, paths: Sequence[bytes] = (), run: int | None = None
) -> tuple[list[Action], list[bytes]]:
    """Return (what a restore would bring back, in order of path; the paths for which there is nothing).

    A path names a file, or a directory with all below it. What went with all of a child directory comes back with all
    of it. Of several removals of one path the last one comes back; with `run` the one of that run, and everything that
    run trashed when there are no paths.
    """
    in_trash = [action for action in (ledger.trash() if run is None else ledger.actions(run)) if action.in_trash]
    wanted: dict[bytes, Action] = {}
    found: set[bytes] = set()
    for action in in_trash:
        covering = [path for path in paths if action.path == path or not path or action.path.startswith(path + b"/")]
        if paths and not covering:
            continue
        found.update(covering)
        before = wanted.get(action.path)
        if before is None or (before.run, before.seq) < (action.run, action.seq):
            wanted[action.path] = action
    children = {(action.run, action.child) for action in wanted.values() if action.child is not None}
    for action in in_trash:
        if (action.run, action.child) in children:
            wanted.setdefault(action.path, action)
    return [wanted[path] for path in sorted(wanted)], [path for path in paths if path not in found]


def restore(
    *,
    store: StoreLike,
    root_fd: int,
    ledger: Ledger,
    now: Callable[[], float],
    paths: Sequence[bytes] = (),
    run: int | None = None,
    to_fd: int | None = None,
    patience: Patience | None = None,
    trigger: str = "command",
    user: str | None = None,
) -> RestoreResult:
    """Bring files back from the trash: `paths` (relative to the store), or all of a run; never over an existing file.

    Where the name is taken the file lands beside it as `NAME.restored-1` (…-2, …). Directories on the way that are
    gone are made again; through others than those that were there nothing goes back that they would let others see
    (`enforce.homes`). With `to_fd` (a directory on the same filesystem) everything lands below that directory under
    its path relative to the store. The caller holds the run lock. Raises LedgerError; whatever cannot come back is an
    item of `errors` and stays in the trash.
    """
    with ExitStack() as stack:
        places = stack.enter_context(Places(root_fd, store))
        recover(places=places, ledger=ledger, now=now)
        actions, nothing = selected(ledger, paths=paths, run=run)
        errors = nothing_there(actions, nothing, paths, run)
        if not actions:
            return RestoreResult(None, (), tuple(errors))
        config = store.config
        number = ledger.begin_run(
            "restore",
            trigger,
            user=user or current_user(),
            mode=config.store.mode,
            policy=config.fingerprint,
            now=now(),
            planned=len(actions),
        )
        restorer = _Restorer(places, ledger, number, now, to_fd, patience or Patience())
        for batch in itertools.batched(actions, _BATCH) if hasattr(itertools, "batched") else _batched(actions):
            restorer.batch(batch)
        restorer.empty_directories(actions)
        restorer.finish()
        errors += restorer.errors
        result = RestoreResult(number, tuple(as_ones(actions, restorer.restored)), tuple(errors))
        ledger.finish_run(number, now(), {"errors": errors})
    return result


def nothing_there(
    actions: Sequence[Action], nothing: Sequence[bytes], paths: Sequence[bytes], run: int | None
) -> list[tuple[bytes, str]]:
    """Return the errors of what `selected` has not found."""
    errors = [(path, "nothing in the trash under this path") for path in nothing]
    if run is not None and not actions and not paths:
        errors.append((b"", f"run {run} has nothing in the trash"))
    return errors


def in_trash(places: Places, action: Action, to_fd: int | None) -> tuple[Place, int, FileStat]:
    """Return (place, descriptor of its trash, stat) of an object in the trash; OSError when it is not there, or not it.

    Also when the directory `to_fd` lies on another filesystem. Raises TrustError when others could reach into that
    trash.
    """
    place = places.named(action.filesystem)
    if place is None:
        reason = places.missing.get(action.filesystem, "no longer configured")
        raise OSError(errno.ENODEV, f"its filesystem {action.filesystem} is not there: {reason}")
    trash_fd = place.open_trash(create=False)
    st = stat_at(trash_fd, (action.trash_name or "").encode())
    if (st.inode, st.btime_ns) != action.identity and not place.overlay:
        raise OSError(errno.ESTALE, "the object in the trash is not the one that was put there")
    if to_fd is not None and stat_fd(to_fd).dev != stat_fd(trash_fd).dev:
        raise OSError(errno.EXDEV, _OTHER_FILESYSTEM)
    return place, trash_fd, st


def as_ones(actions: Sequence[Action], restored: Sequence[Restored]) -> Iterable[Restored]:
    """Yield what came back, a child directory that came back whole, and to its own place, as one."""
    back = {one.path: one for one in restored}
    whole: dict[str, list[Action]] = {}
    for action in actions:
        if action.child is not None:
            whole.setdefault(action.child, []).append(action)
    whole = {
        child: files
        for child, files in whole.items()
        if all(action.path in back and not back[action.path].beside for action in files)
    }
    inside = {action.path for files in whole.values() for action in files}
    yield from (one for one in restored if one.path not in inside)
    for child, files in whole.items():
        path = b"/".join(files[0].path.split(b"/")[: child.count("/") + 1])
        yield Restored(path, path, len(files))


def _batched(actions: Sequence[Action]) -> Iterable[Sequence[Action]]:
    return (actions[start : start + _BATCH] for start in range(0, len(actions), _BATCH))


class _Restorer:
    """The state of one restore."""

    def __init__(
        self,
        places: Places,
        ledger: Ledger,
        run: int,
        now: Callable[[], float],
        to_fd: int | None,
        patience: Patience,
    ) -> None:
        self._places = places
        self._ledger = ledger
        self._origins = functools.lru_cache(64)(ledger.origins)  # neighbours come one after the other
        self._run = run
        self._now = now
        self._to_fd = to_fd
        self._patience = patience
        self._rebuilders: dict[str, Rebuilder] = {}
        self.restored: list[Restored] = []
        self.errors: list[tuple[bytes, str]] = []

    def batch(self, actions: Sequence[Action]) -> None:
        """Announce, rename, record."""
        self._ledger.leaving(self._run, "restoring", [(action.path, action.run, action.seq) for action in actions])
        rows: list[tuple[str, str | None, int | None, bytes | None, int, int]] = []
        for action in actions:
            hooks.at("restore.before", action.path)
            try:
                target = self._patience.call(functools.partial(self._bring_back, action))
            except (OSError, TrustError) as error:
                self.errors.append((action.path, describe(error)))
                rows.append((action.outcome or "trashed", action.error, None, None, action.run, action.seq))
            else:
                self.restored.append(Restored(action.path, target))
                rows.append(("restored", None, int(self._now()), target, action.run, action.seq))
            hooks.at("restore.after", action.path)
        self._ledger.left(rows)

    def empty_directories(self, actions: Sequence[Action]) -> None:
        """Make the directories again that were part of a child which went as one, though no file was in them."""
        for run, child in sorted({(action.run, action.child) for action in actions if action.child is not None}):
            for gone in self._ledger.actions(run):
                place = self._places.named(gone.filesystem)
                if (gone.action, gone.outcome, gone.child) != ("rmdir", "deleted", child) or place is None:
                    continue
                try:
                    home = Home(tuple(self._origins(run, gone.origin)), run, gone.uid, special=False)
                    os.close(self._directory(place, place.open_trash(create=False), gone.path, home))
                except (OSError, TrustError) as error:
                    self.errors.append((gone.path, describe(error)))

    def finish(self) -> None:
        """Give directories their times back, say which are not what they were, and make it all durable."""
        for rebuilder in self._rebuilders.values():
            rebuilder.finish()
            self.errors += rebuilder.narrower
        for place in self._places.places:
            if place.trash_fd >= 0:
                sync_filesystem(place.trash_fd)

    def _bring_back(self, action: Action) -> bytes:
        """Rename one object out of the trash; return where it is now."""
        place, trash_fd, st = in_trash(self._places, action, self._to_fd)
        trash_name = (action.trash_name or "").encode()
        directory, name = split(action.path)
        dir_fd = self._directory(place, trash_fd, directory, home_of(self._origins, action, st))
        try:
            for candidate in beside(name):
                try:
                    rename_noreplace(trash_fd, trash_name, dir_fd, candidate)
                except FileExistsError:
                    continue
                except OSError:
                    if exists_at(trash_fd, trash_name):
                        raise  # else a server lost its answer, and the second try found nothing
                return directory + b"/" + candidate if directory else candidate
        finally:
            os.close(dir_fd)
        raise OSError(errno.EEXIST, "too many files beside it")

    def _directory(self, place: Place, trash_fd: int, directory: bytes, home: Home) -> int:
        rebuilder = self._rebuilders.get(place.name)
        prefix = b"" if self._to_fd is not None or not place.base else place.base + b"/"
        if rebuilder is None:
            base_fd = place.base_fd if self._to_fd is None else self._to_fd
            rebuilder = Rebuilder(base_fd, prefix, trash_fd, self._ledger, self._run)
            self._rebuilders[place.name] = rebuilder
        return rebuilder.open(directory[len(prefix) :], home)
