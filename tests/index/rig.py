"""An index over a real tree that is told by hand where to look: no kernel watcher, no threads, no clock."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from indexer.events import CHANGED, ROOT_ID, Batch, Rescan, directory_key
from indexer.index.apply import Index
from indexer.index.classes import Policy
from indexer.index.directories import Filesystem
from indexer.index.queries import Reader
from indexer.policy.classes import Classifier
from indexer.policy.clocks import compile_clock
from indexer.records import IndexedFile
from indexer.rules import Rule
from indexer.scan import doubt_changed
from indexer.syscalls.handles import handle_of
from indexer.syscalls.stat import stat_fd
from indexer.watch.source import NullWatcher
from tests.agreement import ALL, disagreements
from tests.trees import Node, make

NOW = 4_000_000_000
"""Later than any time a real file has: `first_seen` is then the file's ctime."""

Place = str | bytes
"""A path relative to the root."""


def policy(*rules: Rule, ignore: tuple[str, ...] = ()) -> Policy:
    """Return what the index is told of these classes."""
    clocks = [compile_clock(rule) for rule in rules]
    return Policy(rules, Classifier(rules, ignore), clocks, repr((rules, ignore)), repr(ignore))


class Recorder(NullWatcher):
    """Notes in which order it is told of directories."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int | bytes]] = []

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """Note it."""
        del directory_fd, key
        self.calls.append(("register", directory_id))

    def forget(self, directory_id: int) -> None:
        """Note it."""
        self.calls.append(("forget", directory_id))

    def foreign(self, key: bytes) -> None:
        """Note it."""
        self.calls.append(("foreign", key))


class Rig:
    """A tree at `root`, and its index, which is scanned once when `tree` is given."""

    def __init__(
        self,
        folder: Path,
        tree: Mapping[Any, Node] | None = None,
        rules: Sequence[Rule] = (),
        *,
        filesystems: Sequence[str] = (),
        root: Path | None = None,
        **wishes: Any,
    ) -> None:
        self.root = root or folder / "root"
        self.path = folder / "state" / "index.db"
        self.path.parent.mkdir(exist_ok=True)
        self.root.mkdir(exist_ok=True)
        self.rules = tuple(rules)
        self.named = [os.fsencode(name) for name in filesystems]
        self.wishes = wishes
        self.now = float(NOW)
        self.watcher = Recorder()
        if tree is not None:
            make(self.root, tree)
        self.open()
        if tree is not None:
            self.first()
            self.settle()

    def open(self, **wishes: Any) -> Index:
        """Open the index over what is mounted now."""
        paths = [b"", *self.named]
        self.fds = [os.open(os.path.join(os.fsencode(self.root), path), os.O_RDONLY | os.O_DIRECTORY) for path in paths]
        self.filesystems = [
            Filesystem(number, fd, stat_fd(fd).dev, os.statvfs(fd).f_fsid, path)
            for number, (fd, path) in enumerate(zip(self.fds, paths, strict=True), start=1)
        ]
        ignore = wishes.pop("ignore", ())
        wishes = {"watcher": self.watcher, **self.wishes, **wishes}
        self.index = Index(
            self.path, self.filesystems, policy=policy(*self.rules, ignore=ignore), now=self.now, **wishes
        )
        return self.index

    def close(self) -> None:
        """Close it as the program does."""
        self.index.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def reopen(self, **wishes: Any) -> Index:
        """As the next start of the program."""
        self.close()
        return self.open(**wishes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Saying what happened

    def key(self, place: Place = "") -> bytes:
        """Return the key under which the kernel reports the directory that is at this place now."""
        fd = os.open(os.path.join(os.fsencode(self.root), os.fsencode(place)), os.O_RDONLY | os.O_DIRECTORY)
        try:
            return directory_key(os.statvfs(fd).f_fsid, handle_of(fd))
        finally:
            os.close(fd)

    def batch(self, *places: Place | tuple[bytes, Place], kinds: int = CHANGED, drained: bool = True) -> Batch:
        """Return hints that these paths may have changed; (key, name) where the directory has moved meanwhile."""
        batch = Batch(self.now, drained=drained)
        for place in places:
            if isinstance(place, tuple):
                key, name = place[0], os.fsencode(place[1])
            else:
                directory, _, name = os.fsencode(place).rpartition(b"/")
                key = self.key(directory)
            batch.hint(key, name, kinds)
            batch.events += 1
        return batch

    def apply(self, *places: Place | tuple[bytes, Place], kinds: int = CHANGED, drained: bool = True) -> None:
        """Apply one batch of hints, and nothing of the backlog."""
        self.index.apply(self.batch(*places, kinds=kinds, drained=drained), budget=0)

    def first(self, budget: int = 5_000) -> None:
        """Begin a first scan."""
        self.index.request_rescan(Rescan(ROOT_ID, reason="first"))
        self.turn(budget)

    def verify(self) -> None:
        """List everything again, as the background pass does."""
        self.begin_verify(5_000)
        self.settle()

    def begin_verify(self, budget: int = 1) -> None:
        """Begin a verifying pass."""
        self.index.request_rescan(Rescan(ROOT_ID, reason="verify"), verify=True)
        self.turn(budget)

    def forbid_handles(self, forbidden: bool = True) -> None:  # noqa: FBT002 - a switch
        """Reach directories by path only, as an unprivileged user does."""
        self.index.directories._reacher.handles_open = not forbidden

    def turn(self, budget: int = 5_000) -> None:
        """Apply one empty batch."""
        self.index.apply(Batch(self.now), budget)

    def settle(self, turns: int = 1000) -> int:
        """Apply empty batches until nothing waits; return how many it took."""
        for turn in range(turns):
            if self.index.settled:
                return turn
            self.turn()
        raise AssertionError(f"not settled after {turns} batches, {self.index.pending} pending")

    def changed(self, *places: Place | tuple[bytes, Place], kinds: int = CHANGED) -> None:
        """Hint, and let the index do what follows from it."""
        self.apply(*places, kinds=kinds)
        self.settle()

    def prove(self) -> None:
        """Let the quiet moments pass after which directory times are relied upon."""
        while self.index.unproven:
            self.now += 1
            self.apply()

    def quick(self) -> set[bytes]:
        """Do a quick pass and what follows from it; return the paths of the directories that it doubted."""
        doubt_changed(self.index)
        with Reader.open(self.path) as reader:
            doubted = {reader.directory_path(each) or b"" for each in self.index.backlog.waiting}
        self.settle()
        return doubted

    def quick_only(self) -> None:
        """Do a quick pass; what follows from it is still to come."""
        doubt_changed(self.index)

    # Asking

    def wrong(self, columns: Collection[str] = ALL) -> dict[str, Any]:
        """Return what is wrong with the index; nothing, when it equals the tree."""
        return disagreements(self.path, self.root, columns, enter=self.named)

    def misclassified(self) -> dict[bytes, Any]:
        """Return the files whose class or clock is not what the policy makes of their path and stat."""
        told = policy(*self.rules)
        wrong: dict[bytes, Any] = {}
        with Reader.open(self.path) as reader:
            for path in self.paths():
                file = reader.file(path)
                assert file is not None
                index, aged = told.classifier.at(file.directory).of(file.name)
                clock = None
                if index is not None and aged:
                    clock = told.clocks[index](
                        file.mtime, file.used_at, file.ctime, file.btime, file.first_seen, file.name
                    )
                name = None if index is None else self.rules[index].name
                lazy = index is not None and "atime" in self.rules[index].clocks
                late = lazy and file.clock is not None and clock is not None and file.clock <= clock
                if name != file.class_name or (clock != file.clock and not late):
                    wrong[path] = (file.class_name, file.clock), (name, clock)
        return wrong

    def file(self, place: Place) -> IndexedFile:
        """Return the row of a file that must be there."""
        with Reader.open(self.path) as reader:
            found = reader.file(os.fsencode(place))
        assert found is not None, place
        return found

    def paths(self) -> set[bytes]:
        """Return the paths of all files."""
        with Reader.open(self.path) as reader:
            ids = [row[0] for row in reader.connection.execute("SELECT id FROM directory")]
            return {file.path for each in ids for file in reader.files_in(each)}

    def place(self, directory_id: int) -> str:
        """Return where a directory lies."""
        return os.fsdecode(self.index.directories.path(directory_id))

    def problems(self) -> dict[bytes, int]:
        """Return the directories that could not be listed, with errno."""
        with Reader.open(self.path) as reader:
            return dict(reader.problems())

    def directory(self, place: Place) -> int:
        """Return the id of a directory that must be there."""
        with Reader.open(self.path) as reader:
            found = reader.directory_id(os.fsencode(place))
        assert found is not None, place
        return found

    def value(self, query: str, *values: Any) -> Any:
        """Return the first value of a query."""
        return self.index.connection.execute(query, values).fetchone()[0]

    def execute(self, statement: str, *values: Any) -> None:
        """Stage something in the tables."""
        self.index.connection.execute(statement, values)

    def changes(self, batches: Iterable[Batch]) -> int:
        """Return how many rows these batches change."""
        before = self.index.connection.total_changes
        for batch in batches:
            self.index.apply(batch, budget=0)
        return int(self.index.connection.total_changes - before)
