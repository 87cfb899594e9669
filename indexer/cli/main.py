"""The `indexer` command: which commands there are, loaded when they are called, and how every error ends."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from indexer._version import __version__
from indexer.cli._common import Cli, common_options, examples
from indexer.cli.failure import show_failure
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED, UsageError
from indexer.platforms import require_posix


class Entry(NamedTuple):
    """Where a command lives, and its line in `indexer --help` (so that help imports none of them)."""

    module: str
    name: str
    help: str


COMMANDS = {
    "init": Entry("indexer.cli.stores", "init", "Make a directory a store: configuration and control directory."),
    "scan": Entry("indexer.cli.watching", "scan", "Bring the index up to date once."),
    "watch": Entry("indexer.cli.watching", "watch", "The service: observe, index, run the schedule."),
    "settle": Entry("indexer.cli.watching", "settle", "Return once all that happened so far is in the index."),
    "status": Entry("indexer.cli.watching", "status", "State and health of a store."),
    "plan": Entry("indexer.cli.planning", "plan", "What cleanup would do, and why."),
    "expire": Entry("indexer.cli.removal", "expire", "Remove what is past its class's ttl."),
    "cleanup": Entry("indexer.cli.removal", "cleanup", "All removal that is due: trash, ttl, quotas, watermarks."),
    "explain": Entry("indexer.cli.explaining", "explain", "Class, clocks, expiry and blockers of a path."),
    "hold": Entry("indexer.cli.holding", "hold", "Protect files or trees from all removal."),
    "release": Entry("indexer.cli.holding", "release", "End a hold."),
    "restore": Entry("indexer.cli.undoing", "restore", "Bring files back from the trash."),
    "trash": Entry("indexer.cli.undoing", "trash", "List or empty the trash."),
    "report": Entry("indexer.cli.reporting", "report", "Tables: usage, expiring, largest …"),
    "sql": Entry("indexer.cli.querying", "sql", "Read-only SQL on the views."),
    "export": Entry("indexer.cli.exporting", "export", "A snapshot for other tools."),
    "config": Entry("indexer.cli.stores", "config", "Check a configuration, or show the effective one."),
    "doctor": Entry("indexer.cli.doctor", "doctor", "Check kernel, permissions, room, trust; with remedies."),
    "notify": Entry("indexer.cli.notifying", "notify", "Send a test event to the command of [notify]."),
    "metrics": Entry("indexer.cli.measuring", "metrics", "Prometheus text."),
    "service": Entry("indexer.cli.installing", "service", "The systemd units of a store."),
    "db": Entry("indexer.cli.db", "db", "State, upgrade, check and rebuild of the databases."),
}
"""Every command of the contract, in the order of `indexer --help`."""


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands that can be called."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else _imported(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from indexer.config.kinds import did_you_mean

            raise UsageError(f'there is no command "{name}"', remedy=did_you_mean(name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


def _imported(entry: Entry) -> click.Command:
    require_posix()
    found: click.Command = getattr(importlib.import_module(entry.module), entry.name)
    return found


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples(
        "indexer watch /srv/media              observe and index it; nothing is removed",
        "indexer init /srv/media               write a policy to edit",
        "indexer plan                          see what it would do",
        'eval "$(_INDEXER_COMPLETE=bash_source indexer)"    completion (also zsh_source, fish_source)',
    ),
)
@click.version_option(__version__, prog_name="indexer")
@common_options
def cli(_: Cli) -> None:
    """Watch a storage tree, index every file, and expire what its policy says."""


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing escapes but a signal."""
    _ensure_streams()
    state = Cli()
    # A usage error may come before --json has been parsed.
    state.out.json = "--json" in (argv[: argv.index("--")] if "--" in argv else argv)
    try:
        code = _call(cli, list(argv), state)
        sys.stdout.flush()
    except BrokenPipeError:
        return _nobody_reads()
    except BaseException as error:  # noqa: BLE001 (the edge: every error is shown here, and only here)
        return _failed(error, state)
    return code


def _ensure_streams() -> None:
    """Open what the caller has closed, or a database would become "standard output"; and never fail on a letter."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            setattr(sys, name, open(opened, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115 (for good)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale that lacks a letter


def _failed(error: BaseException, state: Cli) -> int:
    try:
        sys.stdout.flush()  # fails once more where it is the output itself that cannot be written
        code = show_failure(error, state.out)
        sys.stdout.flush()
    except BrokenPipeError:
        return _nobody_reads()
    except OSError as unwritten:
        state.out.json = False
        show_failure(unwritten, state.out)
        return _nobody_reads()
    return code


def _call(command: click.Command, argv: list[str], state: Cli) -> int:
    result: Any = command.main(argv, prog_name="indexer", standalone_mode=False, obj=state)
    return result if isinstance(result, int) else EXIT_DONE


def _nobody_reads() -> int:
    """The reader of our output went away (`| head`): be quiet about it, also when Python flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_SOME_FAILED
