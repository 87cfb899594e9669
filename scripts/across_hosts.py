"""One query over what several hosts have exported (`indexer export HOST.parquet`), with DuckDB.

The table `files` has the columns of the view `files`, and `host`: the name of the file that a row came from, less its
suffix. Names that are not UTF-8 are told apart by `path_bytes`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

BY_CLASS = """
SELECT host, class, count(*) AS files, sum(allocated) AS allocated,
    round(100.0 * sum(allocated) / sum(sum(allocated)) OVER (), 1) AS percent
FROM files GROUP BY host, class ORDER BY allocated DESC
"""
READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".jsonl": "read_json"}


def main() -> None:
    """Print the answer as a table, or as CSV."""
    parser = argparse.ArgumentParser(prog="scripts/across-hosts", description=__doc__.partition("\n")[0])
    parser.add_argument("exports", nargs="+", type=Path, metavar="FILE", help="HOST.parquet, HOST.csv or HOST.jsonl")
    parser.add_argument("--query", default=BY_CLASS, help="SQL on the table `files` (default: what each class takes)")
    parser.add_argument("--csv", action="store_true", help="comma-separated values")
    options = parser.parse_args()
    try:
        columns, rows = ask(options.exports, options.query)
    except ValueError as error:
        parser.error(str(error))
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return
    cells = [
        [str(column) for column in columns],
        *(["" if cell is None else str(cell) for cell in row] for row in rows),
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def ask(exports: list[Path], query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and rows of `query` over all `exports`. Raises ValueError for what is no export or no SQL."""
    import duckdb

    kinds = {path.suffix for path in exports}
    if len(kinds) != 1 or not kinds <= READERS.keys():
        raise ValueError(f"name files of one kind: {', '.join(READERS)}")
    read = READERS[kinds.pop()]
    with duckdb.connect() as connection:
        try:
            connection.execute(
                "CREATE VIEW files AS SELECT * EXCLUDE (filename), parse_filename(filename, true) AS host FROM "
                + read
                + "(["
                + ", ".join(_quoted(path) for path in exports)
                + "], filename = true, union_by_name = true)"
            )
            answer = connection.execute(query)
            columns = [column[0] for column in answer.description or ()]
            return columns, answer.fetchall()
        except duckdb.Error as error:
            raise ValueError(str(error).splitlines()[0]) from error


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


if __name__ == "__main__":
    main()
