"""`hold` and `release`: what must not go, whatever its class says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import operand, path_operands, paths_options
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED, UsageError
from indexer.units import format_time, parse_duration, parse_time, show_name, show_text, text_of


@click.command(
    epilog=examples(
        "indexer hold frames/job-17 --ttl 3d --reason 'being reviewed'",
        "indexer hold outputs/final.mp4               until it is released",
        "find uploads -name '*.raw' -print0 | indexer hold --paths-from - -0",
        "indexer hold --glob '**/*.master.mov'        what matches now, and what will",
    )
)
@paths_options
@click.option("--until", metavar="TIME", help="The hold ends then: ISO 8601, @epoch or +3d.")
@click.option("--ttl", metavar="AGE", help="The hold ends so much later: 3d, 2h.")
@click.option("--glob", "is_glob", is_flag=True, help="PATH is a gitignore-style glob, relative to the store.")
@click.option("--reason", default="", metavar="TEXT", help="Shown by explain and report holds.")
@common_options
def hold(
    cli: Cli,
    paths: tuple[Path, ...],
    paths_from: Path | None,
    nul: bool,
    until: str | None,
    ttl: str | None,
    is_glob: bool,
    reason: str,
) -> int:
    """Protect each PATH, a file or a directory with all below, from every removal, also under disk pressure.

    Returns only when no removal that covers it is in flight. A path that does not exist yet is held as a tree.
    """
    if until is not None and ttl is not None:
        raise UsageError("--until and --ttl both say when the hold ends", remedy="give one of them")
    named = path_operands(paths, paths_from, nul=nul)
    manager = cli.manager_in_force() if is_glob else cli.manager_of(named[0])
    now = time.time()
    end = parse_time(until, now) if until is not None else None if ttl is None else int(now) + parse_duration(ttl)
    wanted: list[bytes] = [os.fsencode(path) if is_glob else operand(manager, path) for path in named]
    held = manager.hold(*wanted, until=end, reason=reason, glob=is_glob)
    if cli.out.json:
        cli.out.document({"holds": held})
        return EXIT_DONE
    for one in held:
        end_text = "until released" if one["until"] is None else f"until {format_time(one['until'])}"
        cli.out.text(f"held {show_text(one['path'] or '.')} {end_text}")
    for path in () if is_glob else wanted:
        there = os.path.join(os.fsencode(manager.store.root), path)
        if os.path.islink(there):
            cli.out.note(f"{show_name(path)} is a symbolic link: it is held, what it leads to is not.")
        elif not os.path.lexists(there):
            cli.out.note(f"{show_name(path)} is not there now: what will be there, and all below it, is held.")
    return EXIT_DONE


@click.command(epilog=examples("indexer release frames/job-17", "indexer release --glob '**/*.master.mov'"))
@paths_options
@click.option("--glob", "is_glob", is_flag=True, help="PATH is the glob that was held, word for word.")
@common_options
def release(cli: Cli, paths: tuple[Path, ...], paths_from: Path | None, nul: bool, is_glob: bool) -> int:
    """End every hold on exactly each PATH; exit 1 when one was not held."""
    named = path_operands(paths, paths_from, nul=nul)
    manager = cli.manager_in_force() if is_glob else cli.manager_of(named[0])
    wanted: list[bytes] = [os.fsencode(path) if is_glob else operand(manager, path) for path in named]
    left, nothing = manager.release(*wanted, glob=is_glob)
    if cli.out.json:
        cli.out.document({"holds": left, "not_held": [text_of(path) for path in nothing]})
    for path in nothing:
        cli.out.warn(f"{show_name(path) or '.'} was not held; see indexer report holds")
    return EXIT_SOME_FAILED if nothing else EXIT_DONE
