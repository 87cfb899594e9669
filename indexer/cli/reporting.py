"""`report`: tables for people, and the page."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._options import CLASS, UNDER
from indexer.cli._paths import PATH, operand
from indexer.cli._tables import write_csv
from indexer.cli.report_tables import report_table
from indexer.errors import UsageError
from indexer.units import format_size, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.manager import StorageManager

REPORTS = ("usage", "tiers", "quotas", "expiring", "largest", "stale", "growth", "drift", "runs", "holds", "html")
SHOWN = 20
"""Single files that a table for people shows, unless --top says otherwise."""


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
@UNDER
@CLASS
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
    open_manager = cli.manager if name == "drift" else cli.manager_in_force  # a service does not read the tree for it
    manager = open_manager(operands[0] if operands else None)
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
