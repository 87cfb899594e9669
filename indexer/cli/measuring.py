"""`metrics`: the Prometheus text, for node_exporter's textfile collector."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import DIRECTORY


@click.command(
    epilog=examples(
        "indexer metrics /srv/media",
        "indexer metrics /srv/media > F.$$ && mv F.$$ /var/lib/node_exporter/indexer.prom",
    )
)
@DIRECTORY
@common_options
def metrics(cli: Cli, directory: Path | None) -> None:
    """Print the store's figures as Prometheus text; with a running service also what only it knows."""
    text = cli.manager_in_force(directory).metrics().decode()
    if cli.out.json:
        cli.out.document({"text": text})
    else:
        sys.stdout.write(text)
