"""How a table leaves: on a terminal as wide as that is, elsewhere whole; or as comma-separated values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from indexer.cli.output import Column
from indexer.cli.words import fit
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from indexer.cli._common import Cli
    from indexer.cli.words import Table


def show(cli: Cli, drawn: Table, drop: Sequence[str]) -> None:
    """Print a table; on a narrow terminal without the columns, by title, that matter least."""
    if sys.stdout.isatty():
        import shutil  # loads what unpacks archives, too

        titles = [column.title if isinstance(column, Column) else column for column in drawn[0]]
        places = [titles.index(title) for title in drop if title in titles]
        drawn = fit(drawn, shutil.get_terminal_size().columns, places)
    cli.out.table(*drawn)


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write comma-separated values to stdout; on a terminal, what could upset it is escaped."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    if sys.stdout.isatty():
        rows = ([show_text(value) if isinstance(value, str) else value for value in row] for row in rows)
    writer.writerows(rows)
