"""Runs measurements by name; each is one module with `measure(settings) -> Report`."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from scripts.bench import harness

NAMES = {
    "scan": "first, second and quick scan against find, fd, updatedb, duc, du and rglob",
    "storm": "creates at full speed: lost, CPU per file against watchdog, time until the last row is visible",
    "watchers": "storm and set-up under each backend and each peer: watchdog, watchfiles, inotifywait, watchman",
    "neighbours": "a small store beside busy directories on one filesystem; a file that is read all the time",
    "load": "20,000 events a second for ten minutes on each backend: memory, lag, CPU; then rest (half an hour)",
    "plan": "plan against find and Path.rglob + stat, by files and by how much is due; quota checks",
    "reclassify": "another policy for 1,000,000 files of a running service: how long, how late events are",
    "usage": "what is used where against du, duc and rglob; exports: time and memory",
    "expire": "a tenth of the files removed, scattered and as whole directories, against find -delete and others",
    "journaled": "the same, scattered, on a private ext4 with a journal, where no unlink waits for a device",
    "growth": "index size, and what questions cost, from 100,000 files to 50,000,000 in 5,000,000 directories",
    "real": "real programs fill a watched store; then expire and restore",
    "fuzz": "random histories on each backend, with kill -9, overflow and pauses; index against walk (half an hour)",
}
TITLES = {
    "scan": "Scanning",
    "storm": "A storm of new files",
    "watchers": "Watchers side by side",
    "neighbours": "A small store beside busy neighbours",
    "load": "A steady load",
    "plan": "Planning",
    "reclassify": "Another policy",
    "usage": "Usage and exports",
    "expire": "Removing files",
    "journaled": "Removing files where no unlink waits for a device",
    "growth": "How cost grows",
    "real": "Real programs",
    "fuzz": "Random histories",
}
LONG = ("fuzz", "load")
ALL = tuple(name for name in NAMES if name not in LONG)
"""What `all` runs, in this order; the others have no yardstick and take half an hour each."""
DOCUMENT = harness.REPOSITORY / "docs" / "benchmarks.md"


def main() -> None:
    """Measure what is named and write it down."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run",
        description="Measures, and writes the tables into docs/benchmarks.md.",
        epilog="\n".join(
            f"  {name:12}{text}" for name, text in {**NAMES, "all": f"every one but {', '.join(LONG)}"}.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=(*NAMES, "all"), metavar="NAME")
    parser.add_argument("--files", type=int, default=0, help="how many files (default: as the published table)")
    parser.add_argument("--repeat", type=int, default=3, help="how often each pair is measured (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="where to work (default: the directory for temporary files)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="show the tables, do not write them down")
    options = parser.parse_args()
    chosen = dict.fromkeys(name for given in options.names for name in (ALL if given == "all" else (given,)))
    for name in chosen:
        print(f"--- {name}: {NAMES[name]}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="indexer-bench-", dir=options.work) as work:
            facts = harness.machine(Path(work))
            settings = harness.Settings(Path(work), options.files, options.repeat)
            report: harness.Report = importlib.import_module(f"scripts.bench.{name}").measure(settings)
        fewer = f" --files {options.files}" if options.files else ""
        command = f"scripts/bench/run {name}{fewer} --repeat {options.repeat}"
        section = f"\n## {TITLES[name]}\n\nMade by `{command}` on {facts}.\n\n" + "\n".join(
            table.markdown() for table in report.tables
        )
        print(section)
        if not options.dry_run:
            harness.write(DOCUMENT, name, section)


if __name__ == "__main__":
    main()
