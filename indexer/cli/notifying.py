"""`notify`: does the configured command hear us?"""

from __future__ import annotations

import time
from pathlib import Path

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import DIRECTORY
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED, UsageError
from indexer.units import show_text


@click.command(epilog=examples("indexer notify /srv/media"))
@DIRECTORY
@common_options
def notify(cli: Cli, directory: Path | None) -> int:
    """Send a `test` event to the command of [notify], as a real one would go; exit 1 when it fails."""
    from indexer.service.notifying import document, run_command

    store = cli.open_store(directory)
    config = store.config.notify
    if config is None:
        raise UsageError(f"{store.root}: nobody is told of anything", remedy="write [notify] with a command")
    told = document(store, "test", time.time(), f"{store.root}: somebody has run `indexer notify`", suppressed=0)
    error = run_command(config, told)
    if cli.out.json:
        cli.out.document({"sent": told, "failed": error})
    elif error is None:
        cli.out.note(f"{show_text(config.command[0])} was told")
    else:
        cli.out.warn(error, style="red")
    return EXIT_DONE if error is None else EXIT_SOME_FAILED
