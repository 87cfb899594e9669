"""Ten minutes of a working day: memory and descriptors stay where they are, and the index is the tree."""

from __future__ import annotations

import errno
import os
import random
import signal
import statistics
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.program import Program
from tests.service.scheduled import POLICY
from tests.waiting import until

SECONDS = float(os.environ.get("INDEXER_SOAK_SECONDS", "600"))
WARM = 0.3
"""Part of the time until caches are full and the allocator has seen the largest batch."""
GROWTH_SHARE, GROWTH_BYTES = 0.05, 6 * 1024**2
"""What the median of the last third may be above that of the second: noise of the allocator, not a leak of a year."""
NAMES = 4_000


class Load:
    """Writes, appends, renames, moves between directories and removes, at random; the seed tells them all again."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self.done = 0

    def _path(self) -> Path:
        number = self._random.randrange(NAMES)
        return self._root / "uploads" / f"user-{number % 20}" / f"{number}.bin"

    def step(self) -> None:
        """Do a hundred things."""
        for _ in range(100):
            try:
                self._random.choice(self._things)(self)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:  # what was chosen is gone, or taken
                    raise
            self.done += 1

    def _write(self) -> None:
        path = self._path()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * self._random.randrange(20_000))

    def _append(self) -> None:
        with self._path().open("r+b") as file:
            file.seek(0, 2)
            file.write(b"more")

    def _rename(self) -> None:
        self._path().rename(self._path())

    def _remove(self) -> None:
        self._path().unlink()

    def _read(self) -> None:
        self._path().read_bytes()

    def _move_directory(self) -> None:
        name = f"user-{self._random.randrange(20)}"
        (self._root / "uploads" / name).rename(self._root / "uploads" / f"{name}-{self._random.randrange(3)}")

    _things: tuple[Callable[[Load], None], ...] = (
        (_write,) * 12 + (_append, _rename, _remove, _read) * 3 + (_move_directory,)
    )


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 300)
def test_a_working_day_leaves_memory_and_descriptors_flat(program: Program, tmp_path: Path) -> None:
    """Load, expiry every ten seconds, questions over HTTP and socket, reloads; at the end the index is the tree."""
    root = tmp_path / "store"
    (root / "uploads").mkdir(parents=True)
    policy = POLICY.format(mode="enforce", schedule='cleanup = "every 10 seconds"\nreconcile = "every 1 minutes"')
    policy = policy.replace('ttl = "1d"', 'ttl = "20s"\ntrash_ttl = "30s"\nremove_empty_dirs = true')
    (root / "indexer.toml").write_text(policy, encoding="utf-8")
    load, samples = Load(root, seed=6), list[tuple[float, int, int]]()
    with program.watch(root, "--http", "127.0.0.1:0") as service:
        where = until(lambda: next((line.split()[1] for line in service.log if line.startswith("http: ")), ""))
        own = psutil.Process(service.process.pid)
        began = time.monotonic()
        asked = 0.0
        while (age := time.monotonic() - began) < SECONDS:
            load.step()
            if age - asked >= 2:
                asked = age
                for path in ("/health", "/metrics", "/api/usage"):
                    with urllib.request.urlopen(where + path, timeout=60) as answer:  # noqa: S310 - our own
                        answer.read()
                samples.append((age, own.memory_info().rss, own.num_fds()))
                if len(samples) % 30 == 0:
                    service.process.send_signal(signal.SIGHUP)
                    program.run("plan", root, "--json")
            own.cpu_percent()
            time.sleep(0.02)  # the load's own pace; nothing is waited for
        service.settle()
        until(lambda: service.status()["state"] == "clean", "clean")
        runs = program.json("report", "runs", root, "--top", "100000")["rows"]
        removed = sum(row["files_removed"] for row in runs)
    program.run("scan", root, "--quick")
    assert program.differences(root) == {}
    warm = [sample for sample in samples if sample[0] > SECONDS * WARM]
    middle = [sample for sample in warm if sample[0] <= SECONDS * (1 + WARM) / 2]
    late = [sample for sample in warm if sample[0] > SECONDS * (1 + WARM) / 2]
    before, after = (statistics.median(sample[1] for sample in part) for part in (middle, late))
    idle_before, idle_after = (min(sample[2] for sample in part) for part in (middle, late))
    most = max(sample[2] for sample in samples)
    print(  # noqa: T201 - the figures of the run
        f"\n{load.done:,} operations, {len(runs):,} runs, {removed:,} files removed in {SECONDS:.0f} s;"
        f" RSS {before / 2**20:.1f} -> {after / 2**20:.1f} MiB;"
        f" descriptors at rest {idle_before} -> {idle_after}, at most {most}"
    )
    assert removed > 100
    assert after <= before * (1 + GROWTH_SHARE) + GROWTH_BYTES
    assert idle_after <= idle_before + 2  # the least: a run holds more while it works, a leak holds them for good
