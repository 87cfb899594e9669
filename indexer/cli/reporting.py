"""`report`, `sql` and `explain`."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import PATH, Cli, class_names, common_options, examples, path_operands, paths_options
from indexer.cli.explaining_text import explain_lines
from indexer.cli.failure import show_failure
from indexer.cli.output import Column
from indexer.cli.report_tables import report_table
from indexer.cli.reporting_text import columns_of, fit
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED, UsageError
from indexer.units import count, format_size, parse_duration, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from indexer.cli.reporting_text import Table
    from indexer.manager import StorageManager

REPORTS = ("usage", "tiers", "quotas", "expiring", "largest", "stale", "growth", "drift", "runs", "holds", "html")
SHOWN = 20
"""Single files that a table for people shows, unless --top says otherwise."""
SQL_HEAP = 512 * 1024**2
"""Bytes that SQLite may take in this process, which answers one query and ends."""
GRACE = 1.0
"""Seconds after the end of a query's time at which its process ends, come what may."""


@click.command(
    epilog=examples(
        "indexer report usage",
        "indexer report usage --by child --class uploads",
        "indexer report largest --by owner",
        "indexer report expiring --within 14d --by owner",
        "indexer report largest /srv/media --under frames --top 50 --csv",
        "indexer report stale --within 180d --by owner",
        "indexer report growth --within 7d",
        "indexer report html report.html",
    )
)
@click.argument("name", metavar="REPORT", type=click.Choice(REPORTS))
@click.argument("operands", metavar="[FILE] [DIR]", nargs=-1, type=PATH)
@click.option("--under", type=PATH, metavar="PATH", help="Only this subtree.")
@click.option("--class", "class_name", metavar="C", shell_complete=class_names, help="Only this class.")
@click.option("--within", metavar="AGE", help="expiring: how far ahead (7d). stale: unused (90d). growth: back (30d).")
@click.option("--by", type=click.Choice(("class", "child", "owner", "day")), help="Sums instead of single files.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="How many rows.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values: plain numbers, times in Unix seconds.")
@common_options
def report(
    cli: Cli,
    name: str,
    operands: tuple[Path, ...],
    under: Path | None,
    class_name: str | None,
    within: str | None,
    by: str | None,
    top: int | None,
    as_csv: bool,
) -> None:
    """Show a table: what is used, what goes soon, what is large.

    \b
    usage     files and bytes of each class, and of the trash
    tiers     the same by tier
    quotas    how full each quota is
    expiring  what is due, and what will be soon (--within)
    largest   the largest files, or (--by) who has most
    stale     what nobody has used for long (--within)
    growth    bytes in and out a day, and when a quota or the disk is full
    drift     a sample (--top) of the index against the tree itself
    runs      what was removed when, by whom
    holds     what is protected, until when
    html      all of it with charts, as one page, to FILE
    """  # noqa: D301 (click wants the character, not a backslash)
    if name == "html":
        page(cli, operands, [under, class_name, within, by, top, as_csv or None])
        return
    if len(operands) > 1:
        raise UsageError(f"`report {name}` takes one DIR", remedy="only `report html` writes to a FILE")
    manager = cli.manager(operands[0] if operands else None)
    options: dict[str, Any] = {"class_name": class_name, "by": by, "top": top}
    options["within"] = parse_duration(within) if within is not None else None
    options["under"] = operand(manager, under) if under is not None else None
    shown = top
    if name in {"expiring", "stale"} and by is None and top is None and not (cli.out.json or as_csv):
        shown = SHOWN
        options["top"] = SHOWN + 1
    rows = manager.report(name, **options)
    note_older_policy(cli, manager)
    if cli.out.json:
        cli.out.document({"rows": rows})
    elif as_csv:
        write_csv(list(rows[0]) if rows else [], ([*row.values()] for row in rows))
    elif not rows:
        cli.out.note("nothing to show")
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        cli.out.table(*report_table(name, rows[:shown], int(time.time()), width=width))
        if shown is not None and len(rows) > shown:
            cli.out.note("… and more: --top N, --by, --csv or --json")
        if name == "growth" and all(row["net_per_day"] is None for row in rows):
            cli.out.note("no rates yet: they need an hour between two samples, which a running service takes")


@click.command(
    epilog=examples(
        'indexer sql "SELECT * FROM usage_by_class"',
        "indexer sql \"SELECT path, size FROM files WHERE class = 'uploads' ORDER BY size DESC LIMIT 10\" --csv",
        "indexer sql - < question.sql",
    )
)
@click.argument("query", metavar="QUERY|-")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS")
@click.option("--max-rows", type=click.IntRange(min=1), default=100_000, show_default=True, metavar="N")
@common_options
def sql(cli: Cli, query: str, as_csv: bool, timeout: float, max_rows: int) -> None:
    """Run one read-only QUERY on the views (files, expired, usage_by_class, runs …); - reads it from standard input.

    Times are Unix seconds, sizes bytes. The views and their columns are in the SQL reference.
    """
    text = sys.stdin.read() if query == "-" else query
    manager = cli.manager()
    with last_resort(cli, timeout):
        found = manager.sql(text, timeout=timeout, max_rows=max_rows, heap=SQL_HEAP)
    note_older_policy(cli, manager)
    rows = [[value.hex() if isinstance(value, bytes) else value for value in row] for row in found["rows"]]
    if cli.out.json:
        cli.out.document({**found, "rows": rows})
    elif as_csv:
        write_csv(found["columns"], rows)
    else:
        cli.out.table(columns_of(found["columns"], rows), rows)
    if found["truncated"]:
        cli.out.note(f"only the first {count(max_rows, 'row')}: --max-rows gives more", style="yellow")


@click.command(
    epilog=examples("indexer explain uploads/film.mp4", "find . -name '*.tmp' | indexer explain --paths-from -")
)
@paths_options
@common_options
def explain(cli: Cli, paths: tuple[Path, ...], paths_from: Path | None, nul: bool) -> int:
    """Say why each PATH has its class and date and what stands in its way; for a removed path: when, why, by which run.

    Exit 1 when a path is neither in the index nor in the ledger.
    """
    found = []
    for path in path_operands(paths, paths_from, nul=nul):
        manager = cli.manager_of(path)
        found.append(manager.explain(operand(manager, path)))
    if cli.out.json:
        cli.out.document(found[0] if len(found) == 1 and paths_from is None else found)
    else:
        now = int(time.time())
        for number, document in enumerate(found):
            if number:
                cli.out.text()
            for line in explain_lines(document, now):
                cli.out.text(line)
    unknown = any(document["kind"] is None and document["removed"] is None for document in found)
    return EXIT_SOME_FAILED if unknown else EXIT_DONE


@contextmanager
def last_resort(cli: Cli, timeout: float) -> Iterator[None]:
    """End this process, with the error of a query that takes too long, when SQLite does not come back in time.

    It looks at the clock between two steps, and one step can last: LIKE on a large text takes minutes.
    """

    def end() -> None:
        from indexer.reports.sql import too_long

        code = show_failure(too_long(timeout), cli.out)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(timeout + GRACE, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def page(cli: Cli, operands: Sequence[Path], narrowing: Sequence[object]) -> None:
    """Write `report html FILE [DIR]`."""
    if not 1 <= len(operands) <= 2:
        raise UsageError("`report html` takes a FILE to write, and a DIR", remedy="indexer report html report.html")
    if any(option is not None for option in narrowing):
        raise UsageError("`report html` tells of the whole store", remedy="leave the options out")
    file = operands[0]
    written = cli.manager(operands[1] if len(operands) == 2 else None).write_page(file)
    if cli.out.json:
        cli.out.document({"file": str(file), "bytes": written})
    else:
        cli.out.note(f"{file}: {format_size(written)}, opens in any browser")


def note_older_policy(cli: Cli, manager: StorageManager) -> None:
    """Say so when classes are still told as they were before the configuration was edited."""
    if manager.is_sorted_by_older_policy():
        cli.out.note(
            "the policy was edited; classes are still those of before: `indexer scan --quick`, or a reload of the"
            " service, puts it in force",
            style="yellow",
        )


def show(cli: Cli, drawn: Table, drop: Sequence[str]) -> None:
    """Print a table; on a narrow terminal without the columns, by title, that matter least."""
    if sys.stdout.isatty():
        titles = [column.title if isinstance(column, Column) else column for column in drawn[0]]
        places = [titles.index(title) for title in drop if title in titles]
        drawn = fit(drawn, shutil.get_terminal_size().columns, places)
    cli.out.table(*drawn)


def operand(manager: StorageManager, path: Path) -> bytes:
    """Return a PATH operand relative to the store: as the shell means it, else (with -C) from the store's root."""
    try:
        return manager.relative(Path.cwd() / path)
    except UsageError:
        if path.is_absolute():
            raise
        return manager.relative(path)


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write comma-separated values to stdout; on a terminal, what could upset it is escaped."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    if sys.stdout.isatty():
        rows = ([show_text(value) if isinstance(value, str) else value for value in row] for row in rows)
    writer.writerows(rows)
