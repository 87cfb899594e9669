"""What every command shares: its common options, the store it means, its output, and asking before removing."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from indexer.cli._paths import PATH
from indexer.cli.output import Output
from indexer.errors import ConfigError, NoStoreError, RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from indexer.manager import StorageManager
    from indexer.store import Store

__all__ = ["Cli", "Output", "Overrides", "cli_of", "common_options", "confirm_or_refuse", "examples", "note_unseen"]

P = ParamSpec("P")
R = TypeVar("R")
Overrides = Mapping[str, object]


def _default_output() -> Output:
    # https://no-color.org; a dumb terminal shows escape sequences as they are
    return Output(color=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


@dataclass(slots=True)
class Cli:
    """The common options of this call; the first argument of every command."""

    out: Output = field(default_factory=_default_output)
    store: Path | None = None
    """`-C/--store`."""
    config: Path | None = None
    """`--config`."""

    def open_store(self, directory: Path | None = None, overrides: Overrides | None = None) -> Store:
        """Open the store that is meant; `directory` is a positional DIR. Raises as `locate_store`, `open_store` do."""
        from indexer.service.reach import open_or_reach
        from indexer.store import locate_store

        root = locate_store(directory, self.store, config_path=self.config)
        return open_or_reach(root, config_path=self.config, overrides=overrides)

    def open_or_initialise(
        self, directory: Path | None = None, overrides: Overrides | None = None, *, reach: bool = False
    ) -> tuple[Store, bool]:
        """Open the store, or make the plain directory that was named one (index only); True when it was made."""
        from indexer.store import initialise_store, locate_store, open_store

        environment = os.environ.get("INDEXER_STORE")
        named = directory or self.store or (Path(environment) if environment else None)
        try:
            root = named = locate_store(directory, self.store, config_path=self.config)
            if reach:
                from indexer.service.reach import open_or_reach

                return open_or_reach(root, config_path=self.config, overrides=overrides), False
            return open_store(root, config_path=self.config, overrides=overrides), False
        except NoStoreError:
            if named is None:
                raise
        made = initialise_store(named, index_only=True, config_path=self.config, overrides=overrides)
        return made, True

    def manager(self, directory: Path | None = None, overrides: Overrides | None = None) -> StorageManager:
        """Return the manager of the store that is meant."""
        from indexer.manager import StorageManager

        return StorageManager.of(self.open_store(directory, overrides))

    def manager_in_force(self, directory: Path | None = None, *, verify: bool = True) -> StorageManager:
        """Return the same for what decides about no file: by what is in force, though the configuration is invalid now.

        `verify` as for `open_store`.
        """
        from indexer.store import locate_store

        return self._in_force(locate_store(directory, self.store, config_path=self.config), verify=verify)

    def manager_of(self, path: Path, *, in_force: bool = True) -> StorageManager:
        """Return the manager of the store that a PATH operand lies in, unless `-C` names it."""
        return next(manager for manager, _ in self.managers_of([path], in_force=in_force))

    def managers_of(
        self, paths: Iterable[Path], *, in_force: bool = True
    ) -> Iterator[tuple[StorageManager, list[Path]]]:
        """Yield the same for many, each with the neighbours among them that lie in its store."""
        from itertools import groupby

        from indexer.manager import StorageManager
        from indexer.service.reach import open_or_reach
        from indexer.store import locate_store, store_of

        chosen = self.store is not None or self.config is not None
        for found, some in groupby(paths, lambda path: None if chosen else store_of(path)):
            root = locate_store(None, self.store, config_path=self.config) if found is None else found
            if in_force:
                yield self._in_force(root), list(some)
            else:
                yield StorageManager.of(open_or_reach(root, config_path=self.config)), list(some)

    def _in_force(self, root: Path, *, verify: bool = True) -> StorageManager:
        from indexer.manager import StorageManager
        from indexer.service.reach import open_or_reach, reach_by_its_service

        try:
            return StorageManager.of(open_or_reach(root, config_path=self.config, verify=verify))
        except ConfigError as error:
            store = reach_by_its_service(root, config_path=self.config)
            if store is None:
                raise
            first = error.problems[0] if error.problems else {"key": "", "message": ""}
            said = f"{error.message}: {first['key']} {first['message']}".removesuffix(":  ")
            self.out.warn(f"{said}; the service goes by what was in force before")
            return StorageManager.of(store)


def common_options(command: Callable[Concatenate[Cli, P], R]) -> Callable[P, R]:
    """Give a command the options that all have, before or after its name, and its `Cli` as first argument."""

    @functools.wraps(command)
    def with_cli(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(cli_of(click.get_current_context()), *args, **kwargs)

    decorated: Callable[P, R] = with_cli
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def cli_of(context: click.Context) -> Cli:
    """Return the common options of the call that `context` belongs to."""
    root = context.find_root()
    if not isinstance(root.obj, Cli):
        root.obj = Cli()
    return root.obj


def _path(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        setattr(cli_of(context), str(parameter.name), value)


def _flag(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(cli_of(context).out, str(parameter.name), True)


def _no_color(context: click.Context, _: click.Parameter, value: Any) -> None:
    if value:
        cli_of(context).out.color = False


def _option(*names: str, callback: Callable[..., None], **settings: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    return click.option(*names, callback=callback, expose_value=False, **settings)


_OPTIONS = (
    _option("-C", "--store", type=PATH, metavar="DIR", callback=_path, help="The store, by its root (INDEXER_STORE)."),
    _option("--config", type=PATH, metavar="FILE", callback=_path, help="Its configuration (INDEXER_CONFIG)."),
    _option("--json", is_flag=True, callback=_flag, help="One JSON document on stdout, errors too."),
    _option("-q", "--quiet", is_flag=True, callback=_flag, help="No notes and no progress."),
    _option("-v", "--verbose", is_flag=True, callback=_flag, help="More notes; tracebacks of unexpected errors."),
    _option("--no-color", is_flag=True, callback=_no_color, help="No colour (NO_COLOR)."),
)


def examples(*lines: str) -> str:
    """Return the examples of a command, for `epilog=`, each on a line of its own."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def confirm_or_refuse(question: str, *, yes: bool, dry_run: bool = False) -> None:
    """Go on if the user agrees: by `-y`, by asking on a terminal, or since a dry run does nothing.

    Without a terminal one of `-y` and `-n` must be given (UsageError). "No", and the end of the input, is a
    RefusedError.
    """
    if yes or dry_run:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"{question} There is no terminal to ask on.", remedy="add -y to do it, or -n to see what it would do"
        )
    try:
        agreed = click.confirm(question, default=False, err=True)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise  # Ctrl-C
        agreed = False
    if not agreed:
        raise RefusedError("not confirmed: nothing was done", guard="answer", remedy="answer y, or add -y")


def note_unseen(cli: Cli, manager: StorageManager) -> None:
    """Where nothing was due: say what a quick pass cannot have seen, and since when."""
    since = manager.unseen_since()
    if since:
        from indexer.units import format_time

        cli.out.note(
            f"Without a service, what changed in place since {format_time(since)} (contents, times that were set) is"
            " seen by `indexer scan` only."
        )
