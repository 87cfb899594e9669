"""A second process exchanges leaves, parents and roots of classes while removals run: by content, nothing wrong goes.

Every file that may be removed says so in its content, every other says that it is precious. What is destroyed cannot be
asked any more, so everything that was ever made is counted at the end: it is there, or it was a victim, planned, and
recorded as destroyed.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import stat
import struct
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.enforce.arena import FRAMES, UPLOADS, Arena
from tests.exchange import exchange

JOBS = 8
PER_JOB = 24
IN_ONE_PIECE = (replace(UPLOADS, remove_empty_dirs=True, whole_directories=True), FRAMES)
JOB_DIRECTORIES = {b"uploads/job-%d" % job for job in range(JOBS)}
ROUNDS = 50
"""Runs between two complete counts, in the long test."""
SWAPPED = {"changed", "replaced", "not_a_file", "gone", "directory_moved"}
"""Words of `kept` that an exchange explains."""
KINDS = (b"file", b"file", b"live", b"link", b"hard", b"folder")
"""What a leaf is exchanged with: a file, one that the attacker has open and writes, a symbolic link, a further name of
a precious file, a directory."""


def _attack(root: Path, seed: int, beat: mmap.mmap, pause: float) -> None:
    """Exchange things, mostly there and back, until killed; `beat` counts them, `pause` is the longest between two."""
    chance = random.Random(seed)
    uploads = os.open(root / "uploads", os.O_PATH)
    store = os.open(root, os.O_PATH)
    precious = os.open(root / "precious", os.O_PATH)
    live = [os.open(root / "precious" / name, os.O_RDWR) for name in os.listdir(root / "precious") if "live-" in name]
    count = 0
    while True:
        job = b"job-%d" % chance.randrange(JOBS)
        leaf = b"f%02d" % chance.randrange(PER_JOB)
        kind = chance.randrange(10)
        times = 1 if chance.random() < 0.02 else 2
        if pause:
            time.sleep(chance.random() * pause)
        try:
            if kind < 6:
                here = os.open(job, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=uploads)
                try:
                    for _ in range(times):
                        exchange(here, leaf, precious, b"%s-%s-%s" % (KINDS[kind], job, leaf))
                        count += 1
                    if kind == 2:
                        fd = chance.choice(live)
                        os.pwrite(fd, os.pread(fd, 1, 0), 0)
                finally:
                    os.close(here)
            elif kind < 9:
                for _ in range(2):
                    exchange(uploads, job, precious, job)
                    count += 1
            else:
                for _ in range(2):
                    exchange(store, b"uploads", store, b"other")
                    count += 1
        except FileNotFoundError:
            continue
        finally:
            beat[:8] = struct.pack("=Q", count)


class _Storm:
    """One tree under attack, and the account of everything that was ever in it."""

    def __init__(self, root: Path, seed: int, pause: float = 0) -> None:
        self.root = root
        self.arena = Arena(root)
        self.attempted = self.removed = self.seen = 0
        self.pieces = 0
        self._made: Counter[bytes] = Counter()
        self._destroyed: Counter[bytes] = Counter()
        self._in_trash: dict[tuple[int, bytes], bytes] = {}
        self._number = 0
        for job in range(JOBS):
            for leaf in range(PER_JOB):
                self._precious(job, leaf)
        self._fill()
        self._beat = mmap.mmap(-1, 8)
        self._attacker = os.fork()
        if self._attacker == 0:
            try:
                _attack(root, seed, self._beat, pause)
            finally:
                os._exit(1)
        while not self.exchanges:
            time.sleep(0)  # it has begun once it has counted

    @property
    def exchanges(self) -> int:
        """How many the attacker has made."""
        return int(struct.unpack("=Q", self._beat[:8])[0])

    def run(self, turn: int) -> None:
        """Plan every victim that is in its class now, and remove, while the attacker goes on.

        By turns into the trash and for good, file by file and directories in one piece.
        """
        action, self.arena.rules = ("trash", "delete")[turn % 2], (IN_ONE_PIECE if turn % 4 > 1 else (UPLOADS, FRAMES))
        self._hold()
        self._fill()
        victims = dict(self._victims())
        if not victims:  # another directory is called `uploads` just now
            os.kill(self._attacker, signal.SIGCONT)
            return
        plan = self.arena.plan(*victims, action=action)
        os.kill(self._attacker, signal.SIGCONT)
        result = self.arena.run(plan)
        found = self.arena.outcomes(result.run)
        outcomes = {path: found.pop(path) for path in victims}
        assert set(found) <= JOB_DIRECTORIES
        assert {outcome for outcome, _ in found.values()} <= {"deleted", "kept", "stray"}
        self.pieces += len(found)
        assert {outcome for outcome, _ in outcomes.values()} <= {"deleted", "trashed", "kept", "stray"}
        for path, (outcome, _) in outcomes.items():
            if outcome == "deleted":
                self._destroyed[victims[path]] += 1
            elif outcome == "trashed":
                self._in_trash[result.run or 0, path] = victims[path]
        self.attempted += len(victims)
        self.removed += result.files_removed
        self.seen += sum(count for why, count in result.kept.items() if why in SWAPPED)

    def empty_the_trash(self) -> None:
        """Destroy what was trashed, though not what lies there against the run's will."""
        purged = self.arena.purge(older_than=-1)
        assert (purged.files_removed, purged.errors) == (len(self._in_trash), ())
        self._destroyed.update(self._in_trash.values())
        self._in_trash.clear()

    def check(self) -> None:
        """Count: what was made is there, or was a victim and is recorded as destroyed. Then let the attacker go on."""
        self._hold()
        there = Counter(_contents(self.root))
        assert self._made - there == self._destroyed
        assert there - self._made == Counter()
        assert [content for content in self._destroyed if not content.startswith(b"victim")] == []
        for action in self.arena.ledger.trash():
            lying = (self.root / ".indexer/trash" / str(action.trash_name)).lstat()
            assert lying.st_ino == action.identity.inode
        os.kill(self._attacker, signal.SIGCONT)

    def end(self) -> None:
        """Kill the attacker."""
        os.kill(self._attacker, signal.SIGKILL)
        _, status = os.waitpid(self._attacker, 0)
        self.arena.close()
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL, "the attacker fell over"

    def _hold(self) -> None:
        """Make the attacker stand still, wherever it is."""
        os.kill(self._attacker, signal.SIGSTOP)
        _, status = os.waitpid(self._attacker, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "the attacker fell over"

    def _write(self, path: str, content: bytes) -> None:
        self.arena.write(path, content)
        self._made[content] += 1

    def _precious(self, job: int, leaf: int) -> None:
        own = f"job-{job}-f{leaf:02}"
        self._write(f"other/job-{job}/f{leaf:02}", b"precious other %d %d" % (job, leaf))
        self._write(f"precious/job-{job}/f{leaf:02}", b"precious dir %d %d" % (job, leaf))
        self._write(f"precious/file-{own}", b"precious leaf %d %d" % (job, leaf))
        self._write(f"precious/live-{own}", b"precious live %d %d" % (job, leaf))
        self._write(f"precious/folder-{own}/inside", b"precious inside %d %d" % (job, leaf))
        os.symlink(f"file-{own}", self.root / f"precious/link-{own}")
        os.link(self.root / f"precious/file-{own}", self.root / f"precious/hard-{own}")
        self._made[b"precious leaf %d %d" % (job, leaf)] += 1

    def _fill(self) -> None:
        """Make a new victim wherever a name is free."""
        for job in range(JOBS):
            for leaf in range(PER_JOB):
                path = f"uploads/job-{job}/f{leaf:02}"
                if not os.path.lexists(self.root / path):
                    self._number += 1
                    self._write(path, b"victim %d" % self._number)

    def _victims(self) -> list[tuple[bytes, bytes]]:
        """Return (path, content) of the files in the class that may go: only what names itself a victim."""
        found = []
        for folder, _, names in os.walk(os.fsencode(self.root / "uploads")):
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    content = _read(path)
                    if content.startswith(b"victim"):
                        found.append((os.path.relpath(path, os.fsencode(self.root)), content))
        return found


def _read(path: bytes) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _contents(root: Path) -> list[bytes]:
    found = []
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(folder, name)
            if not name.startswith(b"ledger.") and not os.path.islink(path):
                found.append(_read(path))
    return found


def test_under_attack(tmp_path: Path) -> None:
    """A thousand removals among thousands of exchanges: no wrong file by content, and some removals do succeed."""
    storm = _Storm(tmp_path, 1)
    try:
        turn = 0
        # How many a run meets is chance.
        while turn < 12 or storm.attempted <= 1000 or storm.exchanges <= 1000 or not (storm.removed and storm.seen):
            storm.run(turn)
            turn += 1
        storm.check()
        storm.empty_the_trash()
        storm.check()
    finally:
        storm.end()
    assert storm.attempted > 1000
    assert storm.exchanges > 1000
    assert 0 < storm.removed <= storm.attempted
    assert storm.seen > 0


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_under_attack_for_long(tmp_path: Path) -> None:
    """A million removals attempted, a hundred thousand of them with an exchange in the way, by content none wrong."""
    attempted = removed = exchanges = seen = pieces = 0
    began = time.monotonic()
    seed = 100
    while attempted < 1_000_000 or exchanges < 100_000:
        storm = _Storm(tmp_path / str(seed), seed)
        try:
            for turn in range(ROUNDS):
                storm.run(turn)
            storm.check()
            storm.empty_the_trash()
            storm.check()
        finally:
            storm.end()
        shutil.rmtree(tmp_path / str(seed))
        attempted, removed, seed = attempted + storm.attempted, removed + storm.removed, seed + 1
        exchanges, seen = exchanges + storm.exchanges, seen + storm.seen
        pieces += storm.pieces
        done = f"{attempted:,} tried, {removed:,} removed, {exchanges:,} exchanges, {seen:,} met by the recipe"
        print(f"{done}, {pieces:,} directories moved, none wrong, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_directories_in_one_piece_under_attack_for_long(tmp_path: Path) -> None:
    """Two hundred thousand removals by an attacker who leaves most directories alone long enough to go in one piece."""
    attempted = exchanges = pieces = 0
    seed = 1000
    while attempted < 200_000:
        storm = _Storm(tmp_path / str(seed), seed, pause=0.002)
        try:
            for turn in (2, 3) * 4:
                storm.run(turn)
            storm.check()
            storm.empty_the_trash()
            storm.check()
        finally:
            storm.end()
        shutil.rmtree(tmp_path / str(seed))
        attempted, exchanges, pieces = attempted + storm.attempted, exchanges + storm.exchanges, pieces + storm.pieces
        seed += 1
    print(f"{attempted:,} tried, {exchanges:,} exchanges, {pieces:,} directories moved, none wrong")  # noqa: T201
    assert pieces > 1000
