"""What people and programs do to a tree, at random, the same for a seed: a history that an index has to follow.

operations = Operations(root, outside, Random(7))
operations.step()           # one operation; `operations.log` says which
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random

from indexer.events import directory_key
from indexer.syscalls.handles import handle_of
from tests.exchange import exchange
from tests.trees import CONFIGURATION, CONTROL, HOSTILE

Touched = Callable[[bytes, bytes], None]
"""Told (key of the directory, name) of every name that the kernel would report; see `events.directory_key`."""

PLAIN = (b"a", b"b", b"c", b"d", b"job", b"uploads", b"frames", b"temp")
"""Few, so that names collide: rename over, replace, recreate."""
NAMES = 60
"""About so many names a tree grows to before more is removed than made."""
WEIGHTS = {
    "create": 10,
    "write": 5,
    "append": 4,
    "truncate": 3,
    "rename_file": 7,
    "rename_over": 4,
    "make_directory": 7,
    "make_deep": 2,
    "move_directory": 9,
    "swap": 3,
    "move_out": 4,
    "move_in": 5,
    "link": 5,
    "symlink": 3,
    "fifo": 1,
    "unlink": 5,
    "remove_tree": 3,
    "remove_outside": 1,
    "replace_kind": 3,
    "chmod": 3,
    "utime": 3,
    "hold_open": 3,
    "write_held": 3,
    "close_held": 2,
    "read": 1,
}
"""Kinds of operation, methods of `Operations`, and how often each is drawn."""
DEEP = 7
LISTS = os.O_RDONLY | os.O_DIRECTORY
_REFUSED = {
    *(errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP),
    *(errno.ENXIO, errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENAMETOOLONG, errno.EBUSY),
}
"""What an operation that makes no sense here fails with: then nothing happened, as with anybody's program."""


class Operations:
    """Draws operations on `root`, and moves things to `outside` (the same filesystem) and back."""

    def __init__(self, root: Path, outside: Path, chance: Random, touched: Touched | None = None) -> None:
        """With `touched`, every name that changes is reported; without, the kernel is to do that."""
        self.root = os.fsencode(root)
        self.outside = os.fsencode(outside)
        self.chance = chance
        self.log: list[str] = []
        self._touched = touched
        self._open: list[int] = []
        self._fresh: set[int] = set()
        """Inodes that got another name since `settled`: a change through a name that comes and goes before anybody
        looks is reported for that name only, and leaves no trace of which file it was."""

    def step(self) -> None:
        """Do one operation; one that is impossible now is drawn again."""
        for _ in range(100):
            if self.do(self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]):
                return
        raise AssertionError("a hundred operations in a row were impossible")

    def do(self, name: str) -> bool:
        """Do an operation of this kind; False when the tree, or the kernel, does not allow it now."""
        try:
            said: str | None = getattr(self, name)()
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            return False
        if said is not None:
            self.log.append(f"{name}: {said}")
        return said is not None

    def settled(self) -> None:
        """Everything so far is in the index."""
        self._fresh.clear()

    def close(self) -> None:
        """Close what is held open."""
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    # What there is

    def _tree(self, top: bytes) -> tuple[list[bytes], list[bytes]]:
        """Return the paths of all directories, `top` first, and of everything else."""
        found, rest, waiting = [top], [], [top]
        while waiting:
            here = waiting.pop()
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            for entry in entries:
                if here == self.root and entry.name in {CONTROL, CONFIGURATION}:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.path)
                    waiting.append(entry.path)
                else:
                    rest.append(entry.path)
        return found, rest

    def _directory(self) -> bytes:
        return self.chance.choice(self._tree(self.root)[0])

    def _subdirectory(self) -> bytes | None:
        below = self._tree(self.root)[0][1:]
        return self.chance.choice(below) if below else None

    def _file(self, *, regular: bool = True) -> bytes | None:
        files = [path for path in self._tree(self.root)[1] if not regular or stat.S_ISREG(os.lstat(path).st_mode)]
        return self.chance.choice(files) if files else None

    def _name(self) -> bytes:
        if self.chance.random() < 0.75:
            return self.chance.choice(PLAIN)
        if self.chance.random() < 0.5:
            return self.chance.choice(HOSTILE)
        alphabet = [byte for byte in range(1, 256) if byte != ord("/")]
        name = bytes(self.chance.choices(alphabet, k=self.chance.randint(1, 12)))
        return name if name not in {b".", b".."} else b"..."

    def _is_fresh(self, path: bytes) -> bool:
        return os.lstat(path).st_ino in self._fresh

    def _place(self) -> bytes:
        """A path that may be free or taken, not too deep and, in a tree that is full, mostly taken."""
        folders, files = self._tree(self.root)
        if len(folders) + len(files) > NAMES and files and self.chance.random() < 0.8:
            return self.chance.choice(files)
        shallow = [path for path in folders if path.count(b"/") - self.root.count(b"/") < DEEP]
        return os.path.join(self.chance.choice(shallow), self._name())

    # What is reported of it

    def _key(self, directory: bytes) -> bytes:
        fd = os.open(directory, LISTS)
        try:
            return directory_key(os.fstatvfs(fd).f_fsid, handle_of(fd))
        finally:
            os.close(fd)

    def _report(self, path: bytes) -> None:
        """Something happened at this path; its directory is where the path says now."""
        inside = path.startswith(self.root + b"/")
        if self._touched is not None and inside:
            directory, name = os.path.split(path)
            self._touched(self._key(directory), name)

    def _report_open(self, fd: int) -> bool:
        """Something happens through this descriptor; False where nothing that the index knows would tell.

        That is so when the name through which the file was opened is gone and the file has another: the kernel reports
        the former name. The index remembers those that it has seen go (`Links.departed`), and no others.
        """
        path = os.readlink(b"/proc/self/fd/%d" % fd)
        if path.endswith(b" (deleted)"):
            return os.fstat(fd).st_nlink == 0
        self._report(path)
        return True

    def _show(self, *paths: bytes) -> str:
        cut = [os.path.relpath(path, os.path.dirname(self.root)) for path in paths]
        return " -> ".join(repr(path)[1:] for path in cut)

    # Files

    def create(self) -> str | None:
        """Create or overwrite a file."""
        path = self._place()
        if os.path.lexists(path) and self._is_fresh(path):
            return None
        size = self.chance.choice((0, 1, 100, 4096, 9000))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            os.write(fd, b"x" * size)
        finally:
            os.close(fd)
        self._report(path)
        return f"{self._show(path)}, {size} bytes"

    def write(self) -> str | None:
        """Write in place: no directory changes."""
        return self._with(os.O_WRONLY, lambda fd: os.pwrite(fd, b"y" * self.chance.randint(1, 5000), 0))

    def append(self) -> str | None:
        """Append."""
        return self._with(os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"z" * self.chance.randint(1, 5000)))

    def truncate(self) -> str | None:
        """Shorten or lengthen."""
        path = self._file()
        if path is None or self._is_fresh(path):
            return None
        size = self.chance.choice((0, 1, 8192, 100_000))
        os.truncate(path, size)
        self._report(path)
        return f"{self._show(path)} to {size}"

    def read(self) -> str | None:
        """Read only."""
        return self._with(os.O_RDONLY, lambda fd: len(os.read(fd, 10)))

    def _with(self, flags: int, use: Callable[[int], int]) -> str | None:
        path = self._file()
        if path is None or self._is_fresh(path):
            return None
        fd = os.open(path, flags | os.O_NOFOLLOW)
        try:
            done = use(fd)
        finally:
            os.close(fd)
        self._report(path)
        return f"{self._show(path)}, {done} bytes"

    def rename_file(self) -> str | None:
        """Rename a file to a place that may be taken."""
        path = self._file(regular=False)
        return None if path is None else self._rename(path, self._place())

    def rename_over(self) -> str | None:
        """Write to a temporary name, then rename over the file."""
        path = self._file(regular=False)
        if path is None:
            return None
        temporary = path[: len(path) - len(os.path.basename(path))] + b".tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, b"w" * self.chance.randint(0, 3000))
        finally:
            os.close(fd)
        self._report(temporary)
        self._rename(temporary, path)
        return self._show(path)

    def unlink(self) -> str | None:
        """Remove one file."""
        path = self._file(regular=False)
        if path is None:
            return None
        os.unlink(path)
        self._report(path)
        return self._show(path)

    def link(self) -> str | None:
        """Give a file another name; nothing is reported of its first."""
        path = self._file()
        if path is None:
            return None
        other = self._place()
        os.link(path, other, follow_symlinks=False)
        self._fresh.add(os.lstat(path).st_ino)
        self._report(other)
        return self._show(path, other)

    def symlink(self) -> str:
        """Point somewhere, or nowhere."""
        path = self._place()
        os.symlink(self.chance.choice((b"nowhere", b"/etc", b".", b"a", b"../b")), path)
        self._report(path)
        return self._show(path)

    def fifo(self) -> str:
        """Make a named pipe."""
        path = self._place()
        os.mkfifo(path)
        self._report(path)
        return self._show(path)

    # Directories

    def make_directory(self) -> str:
        """Make a directory and, at once, a file in it."""
        path = self._place()
        os.mkdir(path)
        self._report(path)
        within = os.path.join(path, self._name())
        os.close(os.open(within, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
        self._report(within)
        return self._show(path)

    def make_deep(self) -> str:
        """Make a chain of directories with a file at its end."""
        path = self._place()
        for _ in range(self.chance.randint(1, 4)):
            os.mkdir(path)
            self._report(path)
            path = os.path.join(path, self._name())
        with open(path, "xb") as stream:
            stream.write(b"deep")
        self._report(path)
        return self._show(path)

    def move_directory(self) -> str | None:
        """Rename a directory, often into another one."""
        path = self._subdirectory()
        return None if path is None else self._rename(path, os.path.join(self._directory(), self._name()))

    def swap(self) -> str | None:
        """Exchange two names in one step, whatever they are."""
        one, two = self._any(), self._any()
        if one is None or two is None or one == two:
            return None
        here, there = (os.open(os.path.dirname(path), LISTS) for path in (one, two))
        try:
            self._report(one)
            self._report(two)
            exchange(here, os.path.basename(one), there, os.path.basename(two))
        finally:
            os.close(here)
            os.close(there)
        return self._show(one, two)

    def _any(self) -> bytes | None:
        folders, files = self._tree(self.root)
        everything = folders[1:] + files
        return self.chance.choice(everything) if everything else None

    def move_out(self) -> str | None:
        """Move something out of the tree."""
        path = self._any()
        if path is None or self._shared(path):
            return None
        return self._rename(path, os.path.join(self.outside, self.chance.choice(PLAIN)))

    def _shared(self, path: bytes) -> bool:
        """A file with several names stays: what happened to it outside, nothing inside would tell."""
        within = self._tree(path)[1] if stat.S_ISDIR(os.lstat(path).st_mode) else [path]
        return any(os.lstat(each).st_nlink > 1 for each in within)

    def move_in(self) -> str | None:
        """Move something, perhaps what was moved out, into the tree."""
        there = sorted(os.listdir(self.outside))
        if not there:
            made = os.path.join(self.outside, b"made", b"of", b"old")
            os.makedirs(made)
            for name in (b"one", b"two"):
                with open(os.path.join(made, name), "wb") as stream:
                    stream.write(name * 1000)
            there = [b"made"]
        return self._rename(os.path.join(self.outside, self.chance.choice(there)), self._place())

    def remove_tree(self) -> str | None:
        """Remove a directory with all that is in it, deepest first."""
        path = self._subdirectory()
        if path is None:
            return None
        self._remove(path)
        return self._show(path)

    def remove_outside(self) -> str | None:
        """Remove for good what was moved out."""
        there = sorted(os.listdir(self.outside))
        if not there:
            return None
        path = os.path.join(self.outside, self.chance.choice(there))
        self._remove(path)
        return self._show(path)

    def _remove(self, path: bytes) -> None:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
        else:
            for name in sorted(os.listdir(path)):
                self._remove(os.path.join(path, name))
            os.rmdir(path)
        self._report(path)

    def replace_kind(self) -> str | None:
        """Put a file where a directory was, or the other way round, under the same name."""
        path = self._any()
        if path is None:
            return None
        was_directory = stat.S_ISDIR(os.lstat(path).st_mode)
        self._remove(path)
        if was_directory:
            with open(path, "xb") as stream:
                stream.write(b"now a file")
        else:
            os.mkdir(path)
        self._report(path)
        return self._show(path)

    def _rename(self, path: bytes, target: bytes) -> str:
        if path == target:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._report(path)
        os.rename(path, target)
        self._report(target)
        return self._show(path, target)

    # Attributes and what is held open

    def chmod(self) -> str | None:
        """Change a mode; a directory's own is no row, and must do no harm."""
        path = self._any()
        if path is None or self._is_fresh(path) or stat.S_ISLNK(os.lstat(path).st_mode):
            return None
        mode = self.chance.choice((0o600, 0o644, 0o755, 0o700, 0o4755, 0o777))
        os.chmod(path, mode)
        self._report(path)
        return f"{self._show(path)} {mode:o}"

    def utime(self) -> str | None:
        """Set times: back, forward, and before the epoch, on directories too."""
        path = self._any()
        if path is None or self._is_fresh(path):
            return None
        when = self.chance.choice((0, 1, -86_400, 1_000_000_000, 4_000_000_001))
        os.utime(path, (when, when), follow_symlinks=False)
        self._report(path)
        return f"{self._show(path)} to {when}"

    def hold_open(self) -> str | None:
        """Open a file for writing and keep it, whatever becomes of its name."""
        path = self._file()
        if path is None or len(self._open) >= 4:
            return None
        self._open.append(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW))
        return self._show(path)

    def write_held(self) -> str | None:
        """Write to it; the name may be another by now, or gone."""
        if not self._open:
            return None
        fd = self.chance.choice(self._open)
        if os.fstat(fd).st_ino in self._fresh or not self._report_open(fd):
            return None
        os.write(fd, b"held" * self.chance.randint(1, 2000))
        return self._show(os.readlink(b"/proc/self/fd/%d" % fd))

    def close_held(self) -> str | None:
        """Close it."""
        if not self._open:
            return None
        fd = self._open.pop(self.chance.randrange(len(self._open)))
        shown = self._show(os.readlink(b"/proc/self/fd/%d" % fd))
        self._report_open(fd)
        os.close(fd)
        return shown
