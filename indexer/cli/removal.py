"""`plan`, `expire`, `cleanup`, `restore` and `trash`: thin over the manager; whatever removes asks first."""

from __future__ import annotations

import gc
import os
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import (
    PATH,
    Cli,
    class_names,
    common_options,
    confirm_or_refuse,
    examples,
    path_operands,
    paths_options,
)
from indexer.cli.removal_text import (
    SHOWN,
    error_lines,
    exit_code,
    plan_lines,
    plan_table,
    refusal_lines,
    result_lines,
    trash_table,
)
from indexer.cli.reporting import operand, show
from indexer.errors import EXIT_DONE, RefusedError, UsageError
from indexer.policy.units import rows
from indexer.units import count, format_size, parse_duration, parse_time, show_text, text_of

if TYPE_CHECKING:
    from indexer.manager import StorageManager
    from indexer.service.comparison import PolicyChange

Command = Callable[..., Any]

DIRECTORY = click.argument("directory", metavar="[DIR]", required=False, type=PATH)
UNDER = click.option("--under", type=PATH, metavar="PATH", help="Only this subtree.")
CLASS = click.option("--class", "class_name", metavar="C", shell_complete=class_names, help="Only this class.")
NO_SCAN = click.option("--no-scan", is_flag=True, help="Go by the index as it is, without a quick pass first.")
DRY_RUN = click.option("-n", "--dry-run", is_flag=True, help="Say what would be done.")
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many files, the oldest.")
WAIT = click.option(
    "--wait", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Wait so long for another run."
)


OVERRIDABLE = ("max_fraction", "everything", "max_clock_step")
"""Guards that a person may set aside."""


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


@click.command(
    epilog=examples(
        "indexer plan",
        "indexer plan --at +7d                 what would go in a week, if nothing changed",
        "indexer plan --policy edited.toml     what an edit would change",
        "indexer plan --out plan.jsonl         for `cleanup --plan plan.jsonl`",
        "indexer plan --class temp --jsonl     one JSON document a file",
    )
)
@_options(DIRECTORY, CLASS, UNDER, NO_SCAN)
@click.option("--at", metavar="TIME", help="A forecast: ISO 8601, @epoch or +3d.")
@click.option("--policy", type=PATH, metavar="FILE", help="What would newly go, and newly stay, by this policy.")
@click.option("--out", type=PATH, metavar="FILE", help="Write the plan, for `cleanup --plan FILE`.")
@click.option("--jsonl", is_flag=True, help="One action a line, as they come.")
@common_options
def plan(
    cli: Cli,
    directory: Path | None,
    class_name: str | None,
    under: Path | None,
    no_scan: bool,
    at: str | None,
    policy: Path | None,
    out: Path | None,
    jsonl: bool,
) -> None:
    """Show what `cleanup` would do now and why; nothing is touched."""
    if policy is not None and out is not None:
        raise UsageError("--policy compares, and has no plan to write", remedy="leave one of --policy and --out out")
    manager = cli.manager(directory)
    moment = parse_time(at, time.time()) if at is not None else None
    narrowed = operand(manager, under) if under is not None else b""
    scope: dict[str, Any] = {"class_name": class_name, "under": narrowed, "at": moment, "scan": not no_scan}
    if policy is not None:
        _show_change(cli, manager.compare_policy(policy, **scope), jsonl=jsonl)
        return
    _collect_seldom()
    made = manager.make_plan(**scope)
    if out is not None:
        cli.out.note(f"{show_text(str(out))}: {count(manager.write_plan(made, out))}")
    if jsonl:
        cli.out.json_lines(made.rows())
    elif cli.out.json:
        rest = made.as_json(shown=0)
        del rest["actions"]
        cli.out.streamed("actions", made.rows(), rest)
    else:
        _show_plan(cli, made.as_json(shown=SHOWN), made.now)


def _collect_seldom() -> None:
    """Tell the garbage collector that this process is the run's: plans and rows are many, and hold no cycles."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _show_plan(cli: Cli, document: dict[str, Any], now: int) -> None:
    if document["actions"]:
        show(cli, plan_table(document["actions"], now), ("reason", "class", "on disk"))
        more = document["totals"]["files"] - sum(action.get("files", 1) for action in document["actions"])
        if more > 0:
            cli.out.text(f"… and {more:,} more: --jsonl shows all")
        cli.out.text()
    for line in plan_lines(document):
        cli.out.text(line)
    for line in refusal_lines(document):
        cli.out.text(line, style="red")


def _show_change(cli: Cli, change: PolicyChange, *, jsonl: bool) -> None:
    if jsonl:
        for word, part in (("goes", change.goes), ("stays", change.stays)):
            cli.out.json_lines({"change": word, **row} for row in rows(part.actions))
        return
    if cli.out.json:
        cli.out.document(change.as_json())
        return
    for title, part in (("Would newly go", change.goes), ("Would newly stay", change.stays)):
        totals = part.totals()
        cli.out.text(f"{title}: {count(totals['files'])}, {format_size(totals['allocated'])} on disk")
        if part.actions:
            shown = islice(rows(part.actions), SHOWN)
            show(cli, plan_table(shown, part.now), ("reason", "class", "on disk"))
    for line in refusal_lines(change.as_json()):
        cli.out.text(line, style="red")


@click.command(epilog=examples("indexer expire -n", "indexer expire -y --class temp", "indexer expire --limit 100"))
@_options(DIRECTORY, CLASS, UNDER, DRY_RUN, YES, LIMIT, NO_SCAN, WAIT)
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
        "under": operand(manager, under) if under is not None else b"",
        "scan": not no_scan,
    }
    return _run(cli, manager, manager.expire, scope, dry_run=dry_run, yes=yes, limit=limit, wait=wait)


@click.command(epilog=examples("indexer cleanup -n", "indexer cleanup -y --wait 60"))
@_options(DIRECTORY, UNDER, DRY_RUN, YES, LIMIT, NO_SCAN, WAIT)
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
    scope = {"under": operand(manager, under) if under is not None else b"", "scan": not no_scan}
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
    from indexer.enforce.result import RunResult

    if cli.out.json:
        cli.out.document({**RunResult(skipped=True, dry_run=dry_run).as_json(), "why": why})
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
    if not dry_run and manager.store.config.store.mode == "enforce":
        _ask(cli, manager, scope, yes=yes, limit=limit)
    _collect_seldom()
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
    return exit_code(result)


def _ask(cli: Cli, manager: StorageManager, scope: dict[str, Any], *, yes: bool, limit: int | None) -> None:
    """On a terminal, show what would go before asking for it; the run makes its plan anew, so it may be less."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty() and not cli.out.json:
        for line in plan_lines(manager.make_plan(**scope).as_json(shown=0)):
            cli.out.note(line)
        if limit is not None:
            cli.out.note(f"Of these at most {count(limit)}, the oldest.")
    confirm_or_refuse(f"Remove what is due in {manager.store.root}?", yes=yes)


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
@_options(DRY_RUN, YES, WAIT)
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
    manager = cli.manager_of(named[0]) if named else cli.manager()
    wanted = [operand(manager, path) for path in named]
    if dry_run:
        return _would_restore(cli, manager, wanted, run)
    confirm_or_refuse(f"Bring {_what(wanted, run)} back in {manager.store.root}?", yes=yes)
    result = manager.restore(paths=wanted, run=run, to=to, wait=wait)
    if cli.out.json:
        cli.out.document(result)
    else:
        for one in result["restored"]:
            cli.out.text(show_text(one["path"] if one["path"] == one["to"] else f"{one['path']} -> {one['to']}"))
        cli.out.note(f"{len(result['restored']):,} restored")
        for line in error_lines(result["errors"]):
            cli.out.warn(line, style="red")
    return exit_code(result)


def _what(wanted: list[bytes], run: int | None) -> str:
    what = f"{len(wanted):,} path{'s' * (len(wanted) != 1)}" if wanted else "all"
    return what if run is None else f"{what} of run {run}"


def _would_restore(cli: Cli, manager: StorageManager, wanted: list[bytes], run: int | None) -> int:
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.restore import selected

    with Ledger.open(manager.store.ledger_path, read_only=True) as ledger:
        found, missing = selected(ledger, paths=wanted, run=run)
    result = {
        "dry_run": True,
        "restored": [{"path": text_of(action.path), "bytes": action.allocated} for action in found],
        "errors": [{"path": text_of(path), "error": "not in the trash"} for path in missing],
    }
    if cli.out.json:
        cli.out.document(result)
    else:
        for action in found:
            cli.out.text(show_text(text_of(action.path)))
        for line in error_lines(result["errors"]):  # type: ignore[arg-type]
            cli.out.warn(line, style="red")
    return exit_code(result)


@click.group(epilog=examples("indexer trash list", "indexer trash empty --older-than 12h"))
@common_options
def trash(_: Cli) -> None:
    """List or empty the trash."""


@trash.command(name="list")
@DIRECTORY
@common_options
def trash_list(cli: Cli, directory: Path | None) -> None:
    """Show what lies in the trash, first what goes first."""
    found = cli.manager(directory).trash_list()
    if cli.out.json:
        cli.out.document(found)
        return
    if found["items"]:
        show(cli, trash_table(found["items"], int(time.time())), ("class", "on disk"))
    cli.out.text(f"{count(found['files'])}, {format_size(found['bytes'])} on disk")


@trash.command(name="empty")
@_options(DIRECTORY, DRY_RUN, YES, WAIT)
@click.option("--older-than", metavar="AGE", help="Only what was put there longer ago.")
@common_options
def trash_empty(cli: Cli, directory: Path | None, dry_run: bool, yes: bool, wait: float, older_than: str | None) -> int:
    """Destroy what lies in the trash; it cannot be restored any more."""
    manager = cli.manager(directory)
    age = parse_duration(older_than) if older_than is not None else None
    which = "what lies in the trash" if age is None else f"what has lain in the trash longer than {older_than}"
    confirm_or_refuse(f"Destroy {which} of {manager.store.root} for ever?", yes=yes, dry_run=dry_run)
    result = manager.trash_empty(older_than=age, dry_run=dry_run, wait=wait)
    if cli.out.json:
        cli.out.document(result)
    else:
        verb = "Would destroy" if dry_run else "Destroyed"
        cli.out.text(f"{verb} {count(result['files_removed'])}, {format_size(result['bytes_freed'])} freed")
        for line in error_lines(result["errors"]):
            cli.out.warn(line, style="red")
    return exit_code(result)
