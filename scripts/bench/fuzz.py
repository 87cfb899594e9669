"""Thousands of random histories on each backend: how many there were, and on how many index and tree disagreed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from scripts.bench.harness import Report, Settings, Table
from tests.model import scripted, sequence
from tests.model.outcome import OPERATIONS, Outcome
from tests.mounts import mounted

KINDS = ("tmpfs", "ext4")


def measure(settings: Settings, kinds: tuple[str, ...] = KINDS, *, seed: int = 0) -> Report:
    """Play `settings.files` (2,000) histories of 50 operations, spread over backends and `kinds` of filesystem.

    As many again are played without a kernel. Figures: `BACKEND KIND histories` and `… wrong`.
    """
    share = -(-(settings.files or 2_000) // (len(sequence.BACKENDS) * len(kinds)))
    table = Table(
        f"Histories of {OPERATIONS} operations, index and walk compared",
        ("events from", "filesystem", "histories", "lives", "with an overflow", "index differs", "s"),
    )
    report = Report([table])
    for kind in kinds:
        with mounted(kind, settings.work, size=512) as place:
            for backend in sequence.BACKENDS:
                seeds = range(seed, seed + share)
                _row(report, backend, kind, (sequence.play(place, backend, each) for each in seeds))
    with mounted("tmpfs", settings.work, size=512) as place:
        count = settings.files or 2_000
        played = (scripted.play(place, "scripted", each) for each in range(seed, seed + count))
        _row(report, "scripted", "tmpfs", played)
    table.notes.append(
        "create, write, append, truncate, rename over, directories moved into each other, out and back in, exchanged,"
        " hard links, symbolic links, pipes, removal of trees, chmod, utime, hostile names, files held open; in between"
        " kill -9 and a new start (lives), SIGSTOP, a writer that stands still, names folded, queues of 64 and 128"
        " events, events dropped. Compared after `settle`: kind, size, mtime, links, mode, owner, inode of every path,"
        " the set of directories, usage of each directory and class, and the blocks of all with du's. The scripted ones"
        " have no kernel: events late, in pieces, twice, or lost, and transactions that fail."
        " `python -m tests.model.sequence --backend B --seed N` plays one again; seeds begin at 0."
    )
    return report


def _row(report: Report, backend: str, kind: str, histories: Iterator[Outcome]) -> None:
    started = time.monotonic()
    count = wrong = lives = overflows = 0
    for outcome in histories:
        count += 1
        lives += outcome.lives
        overflows += bool(outcome.overflows)
        if outcome.wrong:
            wrong += 1
            print(outcome, flush=True)
    taken = time.monotonic() - started
    report.figures[f"{backend} {kind} histories"] = count
    report.figures[f"{backend} {kind} wrong"] = wrong
    figures = [f"{count:,}", f"{lives:,}", f"{overflows:,}", f"{wrong:,}", f"{taken:.0f}"]
    report.tables[0].rows.append((backend, kind, *figures))
