"""`restore` and `trash`: what was removed, back again or gone for good."""

from __future__ import annotations

import time
from pathlib import Path

import click

from indexer.cli._common import Cli, common_options, confirm_or_refuse, examples
from indexer.cli._options import DRY_RUN, WAIT, YES, options
from indexer.cli._paths import DIRECTORY, PATH, operand, path_operands, paths_options
from indexer.cli._tables import show
from indexer.cli.removal_text import error_lines, exit_code, trash_table
from indexer.units import count, format_size, parse_duration, show_text


@click.command(
    epilog=examples(
        "indexer restore uploads/film.mp4",
        "indexer restore --run 12 -y",
        "indexer restore frames/job-17 --to /tmp/look",
    )
)
@paths_options
@click.option("--run", type=int, metavar="N", help="Only what this run removed; without PATH all of it.")
@click.option("--to", type=PATH, metavar="DIR", help="Not to its place, but below this directory.")
@options(DRY_RUN, YES, WAIT)
@common_options
def restore(
    cli: Cli,
    paths: tuple[Path, ...],
    paths_from: Path | None,
    nul: bool,
    run: int | None,
    to: Path | None,
    dry_run: bool,
    yes: bool,
    wait: float,
) -> int:
    """Bring each PATH (a file, or all below a directory) back from the trash; never over an existing file.

    Exit 1 when something could not be brought back; each is named.
    """
    by_path = paths or paths_from or nul or run is None
    named = path_operands(paths, paths_from, nul=nul, instead=", or --run N") if by_path else []
    if named:
        manager = cli.manager_of(named[0], in_force=to is None)  # a service writes to their own places only
    else:
        manager = cli.manager_in_force() if to is None else cli.manager()
    wanted = [operand(manager, path) for path in named]
    confirm_or_refuse(f"Bring {_what(wanted, run)} back in {manager.store.root}?", yes=yes, dry_run=dry_run)
    result = manager.restore(paths=wanted, run=run, to=to, dry_run=dry_run, wait=wait)
    if cli.out.json:
        cli.out.document(result)
    else:
        for one in result["restored"]:
            cli.out.text(show_text(f"{one['path']} -> {one['to']}" if one["beside"] else one["path"]))
        cli.out.note(f"{len(result['restored']):,} {'would be ' if dry_run else ''}restored")
        for line in error_lines(result["errors"]):
            cli.out.warn(line, style="red")
    return exit_code(result)


def _what(wanted: list[bytes], run: int | None) -> str:
    what = f"{len(wanted):,} path{'s' * (len(wanted) != 1)}" if wanted else "all"
    return what if run is None else f"{what} of run {run}"


OLDER_THAN = click.option("--older-than", metavar="AGE", help="Only what was put there longer ago.")


def _age(text: str | None) -> int | None:
    return None if text is None else parse_duration(text)


@click.group(epilog=examples("indexer trash list", "indexer trash empty --older-than 12h"))
@common_options
def trash(_: Cli) -> None:
    """List or empty the trash."""


@trash.command(name="list", epilog=examples("indexer trash list", "indexer trash list --json | jq '.items[].path'"))
@options(DIRECTORY, OLDER_THAN)
@common_options
def trash_list(cli: Cli, directory: Path | None, older_than: str | None) -> None:
    """Show what lies in the trash, first what goes first."""
    found = cli.manager_in_force(directory).trash_list(older_than=_age(older_than))
    if cli.out.json:
        cli.out.document(found)
        return
    if found["items"]:
        show(cli, trash_table(found["items"], int(time.time())), ("class", "on disk"))
    cli.out.text(f"{count(found['files'])}, {format_size(found['bytes'])} on disk")


@trash.command(name="empty", epilog=examples("indexer trash empty -n", "indexer trash empty --older-than 12h -y"))
@options(DIRECTORY, DRY_RUN, YES, WAIT, OLDER_THAN)
@common_options
def trash_empty(cli: Cli, directory: Path | None, dry_run: bool, yes: bool, wait: float, older_than: str | None) -> int:
    """Destroy what lies in the trash; it cannot be restored any more."""
    manager = cli.manager(directory)
    age = _age(older_than)
    which = "what lies in the trash" if age is None else f"what has lain in the trash longer than {older_than}"
    confirm_or_refuse(f"Destroy {which} of {manager.store.root} for ever?", yes=yes, dry_run=dry_run)
    result = manager.trash_empty(older_than=age, dry_run=dry_run, wait=wait)
    if cli.out.json:
        cli.out.document(result)
    else:
        verb = "Would destroy" if dry_run else "Destroyed"
        cli.out.text(f"{verb} {count(result['files_removed'])}, {format_size(result['bytes_freed'])} freed")
        for why, files in result["kept"].items():
            cli.out.text(f"Kept: {count(files)} {why} (indexer report holds)")
        for line in error_lines(result["errors"]):
            cli.out.warn(line, style="red")
    return exit_code(result)
