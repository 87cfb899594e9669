"""`export`: a snapshot for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._options import view_names
from indexer.cli._paths import PATH
from indexer.errors import UsageError
from indexer.units import count


@click.command(
    epilog=examples(
        "indexer export media.db                         all views; sqlite3, DBeaver, Datasette read it",
        "indexer export media.db --mode 0640 --group analysts",
        "indexer export files.parquet",
        "indexer export removed.csv --view actions",
    )
)
@click.argument("file", type=PATH)
@click.option("--view", metavar="V", shell_complete=view_names, help="Which view (files); a .db has all of them.")
@click.option("--mode", metavar="MODE", help="Mode of the file, such as 0640; else what the umask leaves.")
@click.option("--group", metavar="GROUP", help="Group of the file.")
@common_options
def export(cli: Cli, file: Path, view: str | None, mode: str | None, group: str | None) -> None:
    """Write a snapshot to FILE.db (SQLite, all views), FILE.csv, FILE.jsonl or FILE.parquet.

    FILE is replaced as a whole, once it is complete. It holds the names of all files: mind who may read it.
    """
    rows = cli.manager().export(file, view=view, mode=_mode(mode), group=group)
    if cli.out.json:
        cli.out.document({"file": str(file), "rows": rows})
    else:
        cli.out.note(f"{file}: {count(rows, 'file' if file.suffix == '.db' else 'row')}")


def _mode(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise UsageError(f"{text!r} is not a mode", remedy="write it as chmod takes it: 0640")
    return mode
