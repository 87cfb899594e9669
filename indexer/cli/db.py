"""`db status`, `upgrade`, `check` and `rebuild`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, confirm_or_refuse, examples
from indexer.cli._options import DRY_RUN, YES
from indexer.cli._paths import DIRECTORY
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED
from indexer.units import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group(
    epilog=examples("indexer db status", "indexer db check /srv/media", "indexer db rebuild -y      anew from the tree")
)
@common_options
def db(_: Cli) -> None:
    """State, upgrade, check and rebuild of the two databases."""


@db.command(name="status", epilog=examples("indexer db status", "indexer db status --json | jq .index_bytes"))
@DIRECTORY
@common_options
def status(cli: Cli, directory: Path | None) -> None:
    """Show size and schema of both databases, and which SQLite it is."""
    from indexer.service.databases import database_status

    _show(cli, database_status(cli.open_store(directory)))


@db.command(name="upgrade", epilog=examples("indexer db upgrade", "indexer db upgrade /srv/media"))
@DIRECTORY
@common_options
def upgrade(cli: Cli, directory: Path | None) -> None:
    """Bring both databases to this program's schema. Not beside a running service."""
    from indexer.service.databases import upgrade_databases

    _show(cli, upgrade_databases(cli.open_store(directory)))


@db.command(
    name="check",
    short_help="Let SQLite check both, and compare counters.",
    epilog=examples("indexer db check", "indexer db check /srv/media --json"),
)
@DIRECTORY
@common_options
def check(cli: Cli, directory: Path | None) -> int:
    """Let SQLite check both databases, and compare the index's counters with its rows. Exit 1 when one is unsound."""
    from indexer.service.databases import check_databases

    found = check_databases(cli.open_store(directory))
    if cli.out.json:
        cli.out.document(found)
    else:
        for problem in found["problems"]:
            cli.out.text(problem, style="red")
        if found["ok"]:
            cli.out.text("both databases are sound")
    return EXIT_DONE if found["ok"] else EXIT_SOME_FAILED


@db.command(
    name="rebuild",
    short_help="Make the index anew from the tree.",
    epilog=examples("indexer db rebuild -n", "indexer db rebuild -y"),
)
@DIRECTORY
@DRY_RUN
@YES
@common_options
def rebuild(cli: Cli, directory: Path | None, dry_run: bool, yes: bool) -> None:
    """Throw the index away and make it anew from the tree. The ledger and all files stay.

    What is lost is observed use and when each file was first seen: the earlier of now and its ctime is taken.
    """
    from indexer.service.databases import database_status, rebuild_index

    store = cli.open_store(directory)
    confirm_or_refuse(f"Make the index of {store.root} anew from the tree?", yes=yes, dry_run=dry_run)
    if dry_run:
        _show(cli, {**database_status(store), "dry_run": True})
        return
    with cli.out.progress("scanning") as update:
        result = rebuild_index(store, clock=time.time, progress=lambda seen, _waiting: update(seen, None))
    _show(cli, result)


def _show(cli: Cli, document: Mapping[str, Any]) -> None:
    if cli.out.json:
        cli.out.document(dict(document))
        return
    for key, value in document.items():
        shown = format_size(value) if key.endswith("bytes") and value is not None else value
        cli.out.text(f"{key.replace('_', ' '):<22}{'-' if shown is None else shown}")
