"""A store to remove from, without index or service: plans are made of a plain walk, and everything can be asked after.

Every file's content names the path it was made under, so that a wrong file is known by its hash wherever it ends up.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from indexer.config.model import Config, StoreConfig
from indexer.enforce.ledger import Ledger
from indexer.enforce.patience import Patience
from indexer.enforce.places import Places
from indexer.enforce.recheck import rechecker
from indexer.enforce.recover import recover
from indexer.enforce.recovered import Recovered
from indexer.enforce.restore import RestoreResult, restore
from indexer.enforce.result import RunResult
from indexer.enforce.run import execute
from indexer.enforce.trash import PurgeResult, purge_trash
from indexer.enforce.would_restore import would_restore
from indexer.policy.classes import Classifier
from indexer.policy.plan import Plan, Remove
from indexer.records import IndexedFile
from indexer.rules import Rule
from indexer.syscalls.stat import stat_at

if TYPE_CHECKING:
    from pathlib import Path

NOW = 2_000_000_000
"""The runs' clock: long after any file of the tests was made, so that all of them are due."""

UPLOADS = Rule("uploads", ("uploads/**",), ttl=86400)
FRAMES = Rule("frames", ("frames/**",), ttl=86400, action="delete", remove_empty_dirs=True)


@dataclass(frozen=True)
class StandIn:
    """What the recipe needs of a store."""

    root: Path
    config: Config

    @property
    def control(self) -> Path:
        """As in a real store."""
        return self.root / ".indexer"

    @property
    def state(self) -> Path:
        """The databases lie in the control directory."""
        return self.control

    def trash_path(self, filesystem: str = "") -> Path:
        """Each filesystem has its own."""
        return self.root / filesystem / ".indexer" / "trash"


_EMPTY_LEDGER: list[bytes] = []
"""Of the first one that was made: the migrations would take most of the time of a small store."""


def _make_ledger(path: Path) -> None:
    if path.exists():
        return
    if not _EMPTY_LEDGER:
        Ledger.open(path, ballast=False).close()
        _EMPTY_LEDGER.append(path.read_bytes())
        return
    path.touch(mode=0o600)
    path.write_bytes(_EMPTY_LEDGER[0])


@dataclass
class Arena:
    """One store with its ledger; close it."""

    root: Path
    rules: tuple[Rule, ...] = (UPLOADS, FRAMES)
    mode: Any = "enforce"
    filesystems: tuple[str, ...] = ()
    now: float = NOW
    removed: list[tuple[int, bytes]] = field(default_factory=list)
    stale: list[tuple[int, bytes]] = field(default_factory=list)
    ballast: bool = False
    slept: list[float] = field(default_factory=list)
    """What runs would have waited for errors to pass; nobody does."""
    foresee: ClassVar[bool] = False
    """A dry run must have told of each restore."""

    def __post_init__(self) -> None:
        """Make the control directory and open the ledger."""
        (self.root / ".indexer").mkdir(mode=0o700, exist_ok=True, parents=True)
        self.store = StandIn(
            self.root,
            Config(None, StoreConfig(self.root, mode=self.mode, filesystems=self.filesystems), classes=self.rules),
        )
        self.root_fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY)
        _make_ledger(self.root / ".indexer" / "ledger.db")
        self.ledger = Ledger.open(self.root / ".indexer" / "ledger.db", ballast=self.ballast)

    def close(self) -> None:
        """Give back what was opened."""
        self.ledger.close()
        os.close(self.root_fd)

    # ------------------------------------------------------------------------------------------ the tree

    def write(self, path: str | bytes, content: bytes | None = None) -> bytes:
        """Make a file, whose content names it; return its path as bytes."""
        name = os.fsencode(path)
        place = os.path.join(os.fsencode(self.root), name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as stream:
            stream.write(b"I am " + name if content is None else content)
        return name

    def contents(self) -> dict[bytes, str]:
        """Return {path: hash of the content} of everything, in the tree and in the trash."""
        found: dict[bytes, str] = {}
        for folder, _, names in os.walk(os.fsencode(self.root)):
            for name in names:
                path = os.path.join(folder, name)
                if b"/ledger." not in path:
                    found[os.path.relpath(path, os.fsencode(self.root))] = digest_of(path)
        return found

    def tree(self) -> set[bytes]:
        """Return the paths of the files in the tree, without the control directory."""
        return {path for path in self.contents() if not path.startswith(b".indexer/")}

    def in_trash(self) -> list[str]:
        """Return the hashes of what lies in the trash."""
        return sorted(digest for path, digest in self.contents().items() if path.startswith(b".indexer/trash/"))

    # ------------------------------------------------------------------------------------------ the program

    def indexed(self, path: bytes, rule: Rule | None) -> IndexedFile:
        """Return the row that the index would have of this file now."""
        directory, _, name = path.rpartition(b"/")
        dir_fd = os.open(os.path.join(os.fsencode(self.root), directory), os.O_PATH | os.O_DIRECTORY)
        try:
            st = stat_at(dir_fd, name)
        finally:
            os.close(dir_fd)
        return IndexedFile(
            directory_id=1 + directory.count(b"/"),
            directory=directory,
            name=name,
            mode=st.mode,
            uid=st.uid,
            gid=st.gid,
            size=st.size,
            allocated=st.blocks * 512,
            links=st.links,
            identity=st.identity,
            mtime=st.mtime_ns // 10**9,
            atime=st.atime_ns // 10**9,
            used_at=st.atime_ns // 10**9,
            ctime=st.ctime_ns // 10**9,
            btime=st.btime_ns // 10**9 if st.btime_ns else None,
            first_seen=st.ctime_ns // 10**9,
            class_name=rule.name if rule else None,
            clock=st.mtime_ns // 10**9,
            charged=True,
        )

    def plan(self, *paths: str | bytes, action: Any = None) -> Plan:
        """Return a plan that removes these files (all of the tree that has a class, without any)."""
        classifier = Classifier(self.rules)
        removes = []
        for path in [os.fsencode(path) for path in paths] or sorted(self._everything()):
            index, _ = classifier.of(path)
            assert index is not None, path
            rule = self.rules[index]
            file = self.indexed(path, rule)
            removes.append(
                Remove(file, rule, "expired", file.mtime, file.mtime + (rule.ttl or 0), action or rule.action)
            )
        return Plan(tuple(removes), {}, truncated=False, refused=None, now=int(self.now))

    def _everything(self) -> Iterable[bytes]:
        for folder, _, names in os.walk(os.fsencode(self.root)):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), os.fsencode(self.root))
                if not path.startswith(b".indexer/"):
                    yield path

    def run(self, plan: Plan, **options: Any) -> RunResult:
        """Execute a plan."""
        wishes: dict[str, Any] = {
            "recheck": rechecker(Classifier(self.rules)),
            "on_removed": self.removed.extend,
            "on_stale": self.stale.extend,
            "patience": self.patience(),
            **options,
        }
        return execute(plan, store=self.store, root_fd=self.root_fd, ledger=self.ledger, now=lambda: self.now, **wishes)

    def restore(self, paths: Sequence[bytes] = (), **options: Any) -> RestoreResult:
        """Bring things back; with `foresee` check that this was foretold."""
        here: dict[str, Any] = {"store": self.store, "root_fd": self.root_fd, "ledger": self.ledger, "paths": paths}
        foretold = would_restore(**here, **options) if self.foresee else None
        result = restore(**here, now=lambda: self.now, patience=self.patience(), **options)
        assert foretold is None or foretold == replace(result, run=None)
        return result

    def purge(self, **options: Any) -> PurgeResult:
        """Empty the trash."""
        return purge_trash(
            store=self.store,
            root_fd=self.root_fd,
            ledger=self.ledger,
            now=lambda: self.now,
            patience=self.patience(),
            **options,
        )

    def patience(self) -> Patience:
        """Return the patience of a new run."""
        return Patience(self.slept.append)

    def recover(self) -> Recovered:
        """Start again after a crash."""
        with Places(self.root_fd, self.store) as places:
            return recover(places=places, ledger=self.ledger, now=lambda: self.now)

    def outcomes(self, run: int | None) -> dict[bytes, tuple[str | None, str | None]]:
        """Return {path: (outcome, error)} of a run, from the ledger."""
        assert run is not None
        return {action.path: (action.outcome, action.error) for action in self.ledger.actions(run)}


def digest_of(path: bytes) -> str:
    """Return what identifies the content at a path, also of a symlink or a FIFO."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return f"-> {os.fsdecode(os.readlink(path))}"
    if not stat.S_ISREG(mode):
        return f"mode {stat.S_IFMT(mode):o}"
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def digest(content: bytes) -> str:
    """Return the hash that `Arena.contents` shows for this content."""
    return hashlib.sha256(content).hexdigest()


Attack = Callable[[bytes], None]


class Staged:
    """A hook that strikes once: in the window `window`, when it is about `name` (or about any name)."""

    def __init__(self, window: str, attack: Attack, name: bytes | None = None, *, times: int = 1) -> None:
        self.window = window
        self.attack = attack
        self.name = name
        self.left = times

    def __call__(self, window: str, name: bytes = b"") -> None:
        """Stand in for `hooks.at`."""
        if window == self.window and self.left and self.name in {None, name}:
            self.left -= 1
            self.attack(name)
