"""A tenth of the files expires on a private, journaled ext4, whose image lies in the page cache for the most part.

`expire` measures on the disk at hand. Here an unlink waits for no device: what remains is the work of the processor.
"""

from __future__ import annotations

from scripts.bench.expire import DELETE, FIND, FLOOR, TRASH, against_find, age, make, programs, victims_of, within
from scripts.bench.harness import Cost, Report, Settings, Table
from tests.mounts import mounted

SPARE = 1_024
"""MiB beside the files: the index, the ledger, the journal."""
PER_FILE = 4_096 + 512
"""Bytes on disk: a block, an inode, and its entry."""


def measure(settings: Settings) -> Report:
    """Measure a tenth of `settings.files` (1,000,000), scattered; figures: what each program left."""
    files = settings.files or 1_000_000
    report = Report(figures={"files": files})
    victims = victims_of(files, scattered=True)
    walls: dict[str, list[Cost]] = {}
    size = SPARE + files * PER_FILE // 2**20
    with mounted("ext4", settings.work, size=size, inodes=files + files // 5 + 50_000, options="noatime") as place:
        root = place / "store"
        make(root, files)
        known = programs(root, place, victims)
        for _ in range(settings.repeat):
            for name in (FIND, DELETE, TRASH, FLOOR):
                if name in known:
                    age(root, victims)
                    walls.setdefault(name, []).append(known[name]())
                    report.figures[f"left by {name}"] = within(root, victims)
    table = Table(
        f"Removing {files // 10:,} of {files:,} files, scattered, warm, on a private ext4",
        ("program", "wall, s", "against `find -delete`", "CPU, s", "memory at its largest, MB"),
    )
    table.rows += against_find(walls)
    table.notes.append(
        "With a journal, on a loop device, its image in the page cache: no unlink waits for a device. Target: ≤ 1.3×. "
        "Where the time goes, and what was looked at, is in "
        "[a decision](decisions/0085-removal-stays-one-thread-of-python.md)."
    )
    report.tables.append(table)
    return report
