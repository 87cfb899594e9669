"""`explain`: why a file has its class and its date, or when and why it went."""

from __future__ import annotations

import time
from pathlib import Path

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import operand, path_operands, paths_options
from indexer.cli.explaining_text import explain_lines
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED


@click.command(
    epilog=examples("indexer explain uploads/film.mp4", "find . -name '*.tmp' | indexer explain --paths-from -")
)
@paths_options
@common_options
def explain(cli: Cli, paths: tuple[Path, ...], paths_from: Path | None, nul: bool) -> int:
    """Say why each PATH has its class and date and what stands in its way; for a removed path: when, why, by which run.

    Exit 1 when a path is neither in the index nor in the ledger.
    """
    found = []
    for manager, some in cli.managers_of(path_operands(paths, paths_from, nul=nul)):
        found += manager.explain_all(operand(manager, path) for path in some)
    if cli.out.json:
        cli.out.document(found[0] if len(found) == 1 and paths_from is None else found)
    else:
        now = int(time.time())
        for number, document in enumerate(found):
            if number:
                cli.out.text()
            for line in explain_lines(document, now):
                cli.out.text(line)
    unknown = any(document["kind"] is None and document["removed"] is None for document in found)
    return EXIT_SOME_FAILED if unknown else EXIT_DONE
