"""`expire` and `cleanup`: ask, remove what is due, tell."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, confirm_or_refuse, examples, note_unseen
from indexer.cli._options import CLASS, DRY_RUN, LIMIT, NO_SCAN, UNDER, WAIT, YES, options
from indexer.cli._paths import DIRECTORY, PATH, subtree
from indexer.cli.removal_text import error_lines, exit_code, plan_lines, refusal_lines, result_lines
from indexer.errors import EXIT_DONE, RefusedError
from indexer.units import count, parse_duration, show_text

if TYPE_CHECKING:
    from indexer.manager import StorageManager

OVERRIDABLE = ("max_fraction", "everything", "max_clock_step")
"""Guards that a person may set aside."""


@click.command(epilog=examples("indexer expire -n", "indexer expire -y --class temp", "indexer expire --limit 100"))
@options(DIRECTORY, CLASS, UNDER, DRY_RUN, YES, LIMIT, NO_SCAN, WAIT)
@common_options
def expire(
    cli: Cli,
    directory: Path | None,
    class_name: str | None,
    under: Path | None,
    dry_run: bool,
    yes: bool,
    limit: int | None,
    no_scan: bool,
    wait: float,
) -> int:
    """Remove what is past its class's ttl.

    Exit 1 when some files failed (each is named), 3 when a guard or the store's mode refuses.
    """
    manager = cli.manager(directory)
    scope = {
        "class_name": class_name,
        "under": subtree(cli, manager, under),
        "scan": not no_scan,
    }
    return _run(cli, manager, manager.expire, scope, dry_run=dry_run, yes=yes, limit=limit, wait=wait)


@click.command(epilog=examples("indexer cleanup -n", "indexer cleanup -y --wait 60"))
@options(DIRECTORY, UNDER, DRY_RUN, YES, LIMIT, NO_SCAN, WAIT)
@click.option(
    "--plan", "plan_file", type=PATH, metavar="FILE", help="Of a written plan what is still due and unchanged."
)
@click.option("--if-stale", metavar="AGE", help="Nothing when the service is healthy, or did it less than AGE ago.")
@click.option(
    "--override", type=click.Choice(OVERRIDABLE), metavar="GUARD", help=f"Set a guard aside: {', '.join(OVERRIDABLE)}."
)
@common_options
def cleanup(
    cli: Cli,
    directory: Path | None,
    under: Path | None,
    dry_run: bool,
    yes: bool,
    limit: int | None,
    no_scan: bool,
    wait: float,
    plan_file: Path | None,
    if_stale: str | None,
    override: str | None,
) -> int:
    """Do all removal that is due: the trash past its time, what is past its class's ttl, quotas, watermarks.

    --override needs a terminal, or the guard's name in `override` of [guards]; it is recorded.
    Exit 1 when some files failed (each is named), 3 when a guard or the store's mode refuses.
    """
    manager = cli.manager(directory)
    scope = {"under": subtree(cli, manager, under), "scan": not no_scan}
    if override is not None:
        _may_override(manager, override)
    if if_stale is not None:
        age = parse_duration(if_stale)
        if why := manager.fresh(age):
            return _skip(cli, why, dry_run=dry_run)
        do: Callable[..., dict[str, Any]] = partial(manager.run_cleanup, if_stale=age)
    else:
        do = manager.run_cleanup
    if override is not None:
        do = partial(do, override=override)
    if plan_file is not None:
        do = partial(do, plan_file=plan_file)
    return _run(cli, manager, do, scope, dry_run=dry_run, yes=yes, limit=limit, wait=wait)


def _may_override(manager: StorageManager, guard: str) -> None:
    """Only a person sets a guard aside, or the configuration. Raises RefusedError."""
    if guard not in manager.store.config.guards.override and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError(
            f"--override {guard} needs a terminal",
            guard=guard,
            remedy=f'run it by hand, or name "{guard}" in override of [guards]',
        )


def _skip(cli: Cli, why: str, *, dry_run: bool) -> int:
    """Tell that there was nothing to do for a fallback."""
    from indexer.service.stale import nothing_done

    if cli.out.json:
        cli.out.document(nothing_done(why, dry_run=dry_run))
    else:
        cli.out.note(f"nothing to do: {why}")
    return EXIT_DONE


def _store_option(manager: StorageManager) -> str:
    """Return `-C ROOT ` for a command to be typed here, nothing where the store is found from here by itself."""
    root, here = manager.store.root, Path(os.path.realpath("."))
    return "" if root == here or root in here.parents else f"-C {shlex.quote(show_text(str(root)))} "


def _run(
    cli: Cli,
    manager: StorageManager,
    do: Callable[..., dict[str, Any]],
    scope: dict[str, Any],
    *,
    dry_run: bool,
    yes: bool,
    limit: int | None,
    wait: float,
) -> int:
    """Ask, do, tell. In report mode there is nothing to ask: the run is refused, and recorded as such."""
    if not dry_run and manager.store.config.store.mode == "enforce" and not _ask(cli, manager, scope, yes, limit):
        note_unseen(cli, manager)
        return EXIT_DONE
    with cli.out.progress("removing") as update:
        result = do(dry_run=dry_run, limit=limit, wait=wait, progress=lambda done: update(done, None), **scope)
    if cli.out.json:
        cli.out.document(result)
    else:
        for line in result_lines(result, _store_option(manager)):
            cli.out.text(line)
        for line in error_lines(result["errors"]):
            cli.out.warn(line, style="red")
        for line in refusal_lines(result):
            cli.out.warn(line, style="red")
        if not (result["files_removed"] or result["refused"]):
            note_unseen(cli, manager)
    return exit_code(result)


def _ask(cli: Cli, manager: StorageManager, scope: dict[str, Any], yes: bool, limit: int | None) -> bool:
    """On a terminal, show what would go before asking for it; the run makes its plan anew, so it may be less.

    False, without a question, when there is nothing to agree to.
    """
    if not yes and sys.stdin.isatty() and sys.stderr.isatty() and not cli.out.json:
        plan = manager.make_plan(**scope).as_json(shown=0)
        for line in plan_lines(plan):
            cli.out.note(line)
        if not any(plan.get(key) for key in ("due", "purged_files", "watermarks", "refused", "empty_directories")):
            return False
        if limit is not None:
            cli.out.note(f"Of these at most {count(limit)}, the oldest.")
    confirm_or_refuse(f"Remove what is due in {manager.store.root}?", yes=yes)
    return True
