"""What every command shares: its common options, the store it means, its output, and asking before removing."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from indexer.cli.output import Column, Output
from indexer.errors import IndexerError, NoStoreError, RefusedError, UsageError

if TYPE_CHECKING:
    from indexer.manager import StorageManager
    from indexer.store import Store

__all__ = [
    "PATH",
    "Cli",
    "Column",
    "Output",
    "Overrides",
    "class_names",
    "common_options",
    "confirm_or_refuse",
    "examples",
    "path_operands",
    "paths_options",
    "view_names",
]

P = ParamSpec("P")
R = TypeVar("R")
Overrides = Mapping[str, object]


class _Path(click.Path):
    """A path that is not empty: `-C "$UNSET"` must not mean the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the Path."""
        if not os.fspath(value):
            self.fail("is empty; is a variable unset?", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path, readable=False)
"""Type of DIR, FILE and PATH arguments; whether they exist is for the command to say, with a remedy."""


def _default_output() -> Output:
    return Output(color=not os.environ.get("NO_COLOR"))  # https://no-color.org


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

    def manager_of(self, path: Path) -> StorageManager:
        """Return the manager of the store that a PATH operand lies in, unless `-C` names another."""
        from indexer.manager import StorageManager
        from indexer.service.reach import open_or_reach
        from indexer.store import store_of

        if self.store is not None or self.config is not None:
            return self.manager()
        return StorageManager.of(open_or_reach(store_of(path)))


def common_options(command: Callable[Concatenate[Cli, P], R]) -> Callable[P, R]:
    """Give a command the options that all have, before or after its name, and its `Cli` as first argument."""

    @functools.wraps(command)
    def with_cli(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(_cli(click.get_current_context()), *args, **kwargs)

    decorated: Callable[P, R] = with_cli
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _cli(context: click.Context) -> Cli:
    root = context.find_root()
    if not isinstance(root.obj, Cli):
        root.obj = Cli()
    return root.obj


def _path(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        setattr(_cli(context), str(parameter.name), value)


def _flag(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(_cli(context).out, str(parameter.name), True)


def _no_color(context: click.Context, _: click.Parameter, value: Any) -> None:
    if value:
        _cli(context).out.color = False


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


def class_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the classes of the store that is meant, for the shell's completion; none where there is no store."""
    del parameter
    try:
        config = _cli(context).open_store().config  # click has not seen a DIR before an option that lacks its value
    except (IndexerError, OSError):
        return []
    return [rule.name for rule in config.classes if rule.name.startswith(incomplete)]


def view_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the views that can be exported, for the shell's completion."""
    from indexer.index.surface import LEDGER_VIEWS, VIEWS

    del context, parameter
    return [name for name in (*VIEWS, *LEDGER_VIEWS) if name.startswith(incomplete)]


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


def paths_options(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command PATH… with `--paths-from FILE|-` and `-0`; see `path_operands`."""
    command = click.option("-0", "nul", is_flag=True, help="Paths in FILE end with NUL, not with a newline.")(command)
    command = click.option("--paths-from", type=PATH, metavar="FILE|-", help="More, one a line; - is stdin.")(command)
    return click.argument("paths", nargs=-1, type=PATH)(command)


def path_operands(paths: Iterable[Path], paths_from: Path | None, *, nul: bool, instead: str = "") -> list[Path]:
    """Return the paths of the command line and of `--paths-from`, any bytes.

    Raises UsageError when there are none; its remedy names the option that would do `instead`.
    """
    found = list(paths)
    if paths_from is not None:
        try:
            content = sys.stdin.buffer.read() if str(paths_from) == "-" else paths_from.read_bytes()
        except OSError as error:
            raise UsageError(f"{paths_from}: {error.strerror}", remedy="name a file with paths, or -") from error
        found += [Path(os.fsdecode(line)) for line in content.split(b"\0" if nul else b"\n") if line]
    elif nul:
        raise UsageError("-0 without --paths-from", remedy="say where the paths come from: --paths-from -")
    if not found:
        raise UsageError("no path was given", remedy=f"name at least one, or --paths-from FILE{instead}")
    return found
