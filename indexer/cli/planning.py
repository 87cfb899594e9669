"""`plan`: what would go, and why; and what another policy would change."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, examples, note_unseen
from indexer.cli._options import CLASS, NO_SCAN, UNDER, options
from indexer.cli._paths import DIRECTORY, PATH, subtree
from indexer.cli._tables import show
from indexer.cli.removal_text import SHOWN, plan_lines, plan_table, refusal_lines
from indexer.errors import UsageError
from indexer.policy.units import rows
from indexer.units import count, format_size, parse_time, show_text

if TYPE_CHECKING:
    from indexer.service.comparison import PolicyChange


@click.command(
    epilog=examples(
        "indexer plan",
        "indexer plan --at +7d                 what would go in a week, if nothing changed",
        "indexer plan --policy edited.toml     what an edit would change",
        "indexer plan --out plan.jsonl         for `cleanup --plan plan.jsonl`",
        "indexer plan --class temp --jsonl     one JSON document a file",
    )
)
@options(DIRECTORY, CLASS, UNDER, NO_SCAN)
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
    narrowed = subtree(cli, manager, under)
    scope: dict[str, Any] = {"class_name": class_name, "under": narrowed, "at": moment, "scan": not no_scan}
    if policy is not None:
        _show_change(cli, manager.compare_policy(policy, **scope), jsonl=jsonl)
        return
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
        if not made.actions:
            note_unseen(cli, manager)


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
