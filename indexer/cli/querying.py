"""`sql`: one read-only query, that ends when its time is over."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._tables import write_csv
from indexer.cli.failure import show_failure
from indexer.cli.reporting import note_older_policy
from indexer.cli.words import columns_of
from indexer.units import count

if TYPE_CHECKING:
    from collections.abc import Iterator

SQL_HEAP = 512 * 1024**2
"""Bytes that SQLite may take in this process, which answers one query and ends."""
GRACE = 1.0
"""Seconds after the end of a query's time at which its process ends, come what may."""


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
    if cli.out.json:  # which has no word for infinity
        finite = [[None if isinstance(one, float) and not isfinite(one) else one for one in row] for row in rows]
        cli.out.document({**found, "rows": finite})
    elif as_csv:
        write_csv(found["columns"], rows)
    else:
        cli.out.table(columns_of(found["columns"], rows), rows)
    if found["truncated"]:
        cli.out.note(f"only the first {count(max_rows, 'row')}: --max-rows gives more", style="yellow")


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
