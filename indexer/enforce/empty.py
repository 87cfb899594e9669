"""Empty directories: bottom-up, below the class's own directory, only where this run took the last file out."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce import hooks
from indexer.enforce.directories import Blocked, Directories
from indexer.enforce.places import Places, describe, object_of, split
from indexer.enforce.rows import Ending, Intent, path_columns, signed
from indexer.syscalls.stat import FileStat, stat_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.origins import Origin, Origins
    from indexer.enforce.patience import Patience
    from indexer.rules import Rule

_GLOB = frozenset(b"*?[\\!")


def own_directories(rules: Iterable[Rule]) -> frozenset[bytes]:
    """Return the directories that are the classes' own: the literal beginning of each `match` glob, and all above."""
    own = {b""}
    for rule in rules:
        for glob in rule.match:
            literal: list[bytes] = []
            for component in os.fsencode(glob).strip(b"/").split(b"/"):
                if _GLOB.intersection(component):
                    break
                literal.append(component)
                own.add(b"/".join(literal))
    return frozenset(own)


def below_own_directory(rule: Rule, directory: bytes) -> bool:
    """True when `directory` lies strictly below a `prefix/**` glob's prefix of this class."""
    for glob in rule.match:
        text = os.fsencode(glob).strip(b"/")
        prefix, found, rest = text.partition(b"/**")
        if found and not rest and not _GLOB.intersection(prefix) and directory.startswith(prefix + b"/"):
            return True
    return False


class _Empty(NamedTuple):
    seq: int
    path: bytes
    rule: Rule
    st: FileStat


class EmptyDirectories:
    """Removes what a run has emptied; every rmdir is announced in the ledger like any other removal."""

    def __init__(
        self,
        places: Places,
        directories: Directories,
        ledger: Ledger,
        run: int,
        now: Callable[[], float],
        own: frozenset[bytes],
        patience: Patience,
        origins: Origins,
    ) -> None:
        self._places = places
        self._directories = directories
        self._ledger = ledger
        self._run = run
        self._now = now
        self._own = own
        self._patience = patience
        self._origins = origins
        self._old: frozenset[bytes] = frozenset()
        self.removed: list[bytes] = []
        self.errors: list[tuple[bytes, str]] = []

    def remove(
        self, emptied: Mapping[bytes, Rule], old: Mapping[bytes, Rule], seq: int, stop: Callable[[], bool]
    ) -> int:
        """Remove the directories of `emptied` that are empty now, and those above that this empties, bottom-up.

        `emptied` maps directories that a file was taken from to the rule that took it; those of `old` go only when
        nothing has come or gone in them for the rule's min_age. `seq` is the last number used in the run; the new last
        one is returned.
        """
        levels: dict[int, dict[bytes, Rule]] = {}
        self._old = frozenset(old) - frozenset(emptied)
        for directory, rule in {**old, **emptied}.items():
            if rule.remove_empty_dirs:
                levels.setdefault(directory.count(b"/"), {})[directory] = rule
        while levels and not stop():
            depth = max(levels)
            self._directories.forget()
            empty: list[_Empty] = []
            for directory, rule in sorted(levels.pop(depth).items()):
                found = self._look(directory, rule, seq + 1)
                if found is not None:
                    seq += 1
                    empty.append(found)
            if not empty:
                continue
            origins = self._origins.look(one.path for one in empty)
            intents = [self._intent(one, origins.get(one.path)) for one in empty]
            self._ledger.intents(self._run, intents, self._origins.new())
            # After the intents, as for files: whoever holds a path now either sees them, or is seen here.
            protection = self._ledger.protection(self._now())
            endings = [self._rmdir(one, protection.blocker(one.path) or protection.inside(one.path)) for one in empty]
            self._ledger.outcomes(endings)
            for one, ending in zip(empty, endings, strict=True):
                if ending.outcome == "deleted":
                    self.removed.append(one.path)
                    above = split(one.path)[0]
                    levels.setdefault(above.count(b"/"), {}).setdefault(above, one.rule)
                    self._old -= {above}
        return seq

    def _look(self, directory: bytes, rule: Rule, seq: int) -> _Empty | None:
        """Return the directory when it is empty, ours to remove, unlocked, and no mount point."""
        if directory in self._own or not below_own_directory(rule, directory):
            return None
        parent, name = split(directory)
        try:
            fd = self._directories.open(directory)
        except Blocked as blocked:
            if blocked.failed:
                self.errors.append((directory, blocked.why))
            return None
        try:
            if not _is_empty(fd):
                return None
            parent_fd = self._places.open(parent)
            try:
                st = stat_at(parent_fd, name)
            finally:
                os.close(parent_fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.errors.append((directory, describe(error)))
            return None
        finally:
            os.close(fd)
        if not stat.S_ISDIR(st.mode) or st.mount_root:
            return None
        if directory in self._old and self._now() - st.mtime_ns / 1e9 < rule.min_age:
            return None
        return _Empty(seq, directory, rule, st)

    def _rmdir(self, one: _Empty, blocker: str | None) -> Ending:
        outcome, error = self._try(one) if blocker is None else ("kept", blocker)
        st = one.st
        return Ending(
            outcome, error, int(self._now()), None, None, st.size, st.blocks * 512, st.links, st.uid, st.gid, st.mode,
            signed(st.inode), st.btime_ns, st.mtime_ns, self._run, one.seq,
        )  # fmt: skip

    def _try(self, one: _Empty) -> tuple[str, str | None]:
        parent, name = split(one.path)
        try:
            parent_fd = self._directories.open(parent)
        except Blocked as blocked:
            return ("failed" if blocked.failed else "kept"), blocked.why
        try:
            if object_of(stat_at(parent_fd, name)) != object_of(one.st):
                return "kept", "changed"
            hooks.at("rmdir.before", name)
            self._patience.call(lambda: os.rmdir(name, dir_fd=parent_fd))
            hooks.at("rmdir.after", name)
        except FileNotFoundError:
            return "kept", "gone"
        except OSError as error:
            if isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY:
                return "kept", "changed"
            self.errors.append((one.path, describe(error)))
            return "failed", describe(error)
        finally:
            os.close(parent_fd)
        return "deleted", None

    def _intent(self, one: _Empty, origin: Origin | None) -> Intent:
        st = one.st
        child = one.rule.child_of(one.path) if one.rule.unit == "child" else None
        return Intent(
            one.seq, *path_columns(one.path), self._places.of(one.path).name, one.rule.name, "rmdir", "empty", st.size,
            st.blocks * 512, st.links, st.uid, st.gid, st.mode, signed(st.inode), st.btime_ns, st.mtime_ns, None, None,
            None, None, child=None if child is None else path_columns(child)[0],
            origin=None if origin is None else origin.number,
        )  # fmt: skip


def _is_empty(fd: int) -> bool:
    with os.scandir(fd) as entries:
        return next(entries, None) is None
