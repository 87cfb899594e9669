"""Options that several commands have, and what the shell completes in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

from indexer.cli._common import cli_of
from indexer.cli._paths import PATH
from indexer.errors import IndexerError

Command = Callable[..., Any]


def class_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the classes of the store that is meant, for the shell's completion; none where there is no store."""
    del parameter
    try:
        config = cli_of(context).open_store().config  # click has not seen a DIR before an option that lacks its value
    except (IndexerError, OSError):
        return []
    return [rule.name for rule in config.classes if rule.name.startswith(incomplete)]


def view_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the views that can be exported, for the shell's completion."""
    from indexer.reports.export import names

    del context, parameter
    return [name for name in names() if name.startswith(incomplete)]


UNDER = click.option("--under", type=PATH, metavar="PATH", help="Only this subtree.")
CLASS = click.option("--class", "class_name", metavar="C", shell_complete=class_names, help="Only this class.")
NO_SCAN = click.option("--no-scan", is_flag=True, help="Go by the index as it is, without a quick pass first.")
DRY_RUN = click.option("-n", "--dry-run", is_flag=True, help="Say what would be done.")
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many files, the oldest.")
WAIT = click.option(
    "--wait", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Wait so long for another run."
)


def options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command several options, in the order in which its help shows them."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)
