"""A second process exchanges leaves, parents and roots of classes while removals run: by content, nothing wrong goes.

Every file that may be removed says so in its content, every other says that it is precious. What is destroyed cannot be
asked any more, so all precious files are counted at the end, and so is every victim that was not recorded as removed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from indexer.syscalls.rename import exchange
from tests.enforce.arena import Arena

JOBS = 8
PER_JOB = 24
SWAPPED = {"changed", "replaced", "not_a_file", "gone", "directory_moved"}
"""Words of `kept` that an exchange explains."""
KINDS = (b"file", b"file", b"live", b"link", b"hard", b"folder")
"""What a leaf is exchanged with: a file, one that the attacker has open and writes, a symbolic link, a further name of
a precious file, a directory."""


def _attack(root: Path, seed: int, beat: int) -> None:
    """Exchange things, mostly there and back, until killed; a byte to `beat` for each exchange."""
    chance = random.Random(seed)
    uploads = os.open(root / "uploads", os.O_PATH)
    store = os.open(root, os.O_PATH)
    precious = os.open(root / "precious", os.O_PATH)
    live = {
        name: os.open(name, os.O_RDWR, dir_fd=precious) for name in os.listdir(root / "precious") if "live-" in name
    }
    while True:
        job = b"job-%d" % chance.randrange(JOBS)
        leaf = b"f%02d" % chance.randrange(PER_JOB)
        kind = chance.randrange(10)
        times = 1 if chance.random() < 0.02 else 2
        try:
            if kind < 6:
                here = os.open(job, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=uploads)
                try:
                    for _ in range(times):
                        exchange(here, leaf, precious, b"%s-%s-%s" % (KINDS[kind], job, leaf))
                        os.write(beat, b".")
                    if kind == 2:
                        fd = chance.choice(list(live.values()))
                        os.pwrite(fd, os.pread(fd, 1, 0), 0)
                finally:
                    os.close(here)
            elif kind < 9:
                for _ in range(2):
                    exchange(uploads, job, precious, job)
                    os.write(beat, b".")
            else:
                for _ in range(2):
                    exchange(store, b"uploads", store, b"other")
                    os.write(beat, b".")
        except FileNotFoundError:
            continue


def _storm(root: Path, seed: int) -> tuple[int, int, int, int]:
    """Run one removal under attack; return (attempted, removed, exchanges, victims where one of them was seen)."""
    arena = Arena(root)
    for job in range(JOBS):
        for leaf in range(PER_JOB):
            arena.write(f"uploads/job-{job}/f{leaf:02}", b"victim %d %d" % (job, leaf))
            arena.write(f"other/job-{job}/f{leaf:02}", b"precious other %d %d" % (job, leaf))
            arena.write(f"precious/job-{job}/f{leaf:02}", b"precious dir %d %d" % (job, leaf))
            own = f"job-{job}-f{leaf:02}"
            arena.write(f"precious/file-{own}", b"precious leaf %d %d" % (job, leaf))
            arena.write(f"precious/live-{own}", b"precious live %d %d" % (job, leaf))
            arena.write(f"precious/folder-{own}/inside", b"precious inside %d %d" % (job, leaf))
            os.symlink(f"file-{own}", root / f"precious/link-{own}")
            os.link(root / f"precious/file-{own}", root / f"precious/hard-{own}")
    names = [f"uploads/job-{job}/f{leaf:02}" for job in range(JOBS) for leaf in range(PER_JOB)]
    plan = arena.plan(*names, action="delete" if seed % 2 else "trash")
    before = _contents(root)
    reading, writing = os.pipe()
    attacker = os.fork()
    if attacker == 0:
        try:
            os.close(reading)
            _attack(root, seed, writing)
        finally:
            os._exit(1)
    os.close(writing)
    os.read(reading, 1)  # it has begun
    result = arena.run(plan)
    os.kill(attacker, signal.SIGKILL)
    _, status = os.waitpid(attacker, 0)
    with open(reading, "rb") as stream:
        exchanges = 1 + len(stream.read())
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the attacker fell over"

    gone = sorted((Counter(before) - Counter(_contents(root))).elements())
    assert [content for content in gone if not content.startswith(b"victim")] == []
    outcomes = arena.outcomes(result.run)
    removed = {path for path, (outcome, _) in outcomes.items() if outcome == "deleted"}
    assert sorted(gone) == sorted(_content_of(path) for path in removed)
    assert result.files_removed == sum(outcome in {"deleted", "trashed"} for outcome, _ in outcomes.values())
    assert {outcome for outcome, _ in outcomes.values()} <= {"deleted", "trashed", "kept", "stray"}
    for action in arena.ledger.trash():
        with_content = (root / ".indexer/trash" / str(action.trash_name)).lstat()
        assert with_content.st_ino == action.identity.inode
    arena.close()
    return (
        len(names),
        result.files_removed,
        exchanges,
        sum(count for why, count in result.kept.items() if why in SWAPPED),
    )


def _content_of(path: bytes) -> bytes:
    _, job, leaf = path.split(b"/")
    return b"victim %d %d" % (int(job[4:]), int(leaf[1:]))


def _contents(root: Path) -> list[bytes]:
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not name.startswith("ledger.") and not os.path.islink(path):
                with open(path, "rb") as stream:
                    found.append(stream.read())
    return sorted(found)


def test_under_attack(tmp_path: Path) -> None:
    """A thousand removals among thousands of exchanges: no wrong file by content, and some removals do succeed."""
    totals = [0, 0, 0, 0]
    for seed in range(11):
        totals = [one + other for one, other in zip(totals, _storm(tmp_path / str(seed), seed), strict=True)]
    attempted, removed, exchanges, seen = totals
    assert attempted > 2000
    assert exchanges > 1000
    assert 0 < removed <= attempted
    assert seen > 0


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_under_attack_for_long(tmp_path: Path) -> None:
    """A million removals attempted, among a hundred thousand exchanges at least."""
    attempted = gone = exchanges = seen = 0
    began = time.monotonic()
    seed = 100
    while attempted < 1_000_000 or exchanges < 100_000:
        tried, removed, swapped, noticed = _storm(tmp_path / str(seed), seed)
        seen += noticed
        shutil.rmtree(tmp_path / str(seed))
        attempted, gone, exchanges, seed = attempted + tried, gone + removed, exchanges + swapped, seed + 1
        if seed % 100 == 0:
            took = time.monotonic() - began
            done = f"{attempted:,} tried, {gone:,} removed, {exchanges:,} exchanges, {seen:,} seen by the recipe"
            print(f"{done}, none wrong, {took:.0f} s", flush=True)  # noqa: T201
