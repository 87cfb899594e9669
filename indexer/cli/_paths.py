"""Paths on a command line: DIR, PATH… with `--paths-from`, and what they mean in a store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from indexer.errors import UsageError
from indexer.units import show_name

if TYPE_CHECKING:
    from indexer.cli._common import Cli
    from indexer.manager import StorageManager

P = ParamSpec("P")
R = TypeVar("R")


class _Path(click.Path):
    """A path that is not empty: `-C "$UNSET"` must not mean the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the Path."""
        if not os.fspath(value):
            self.fail("is empty; is a variable unset?", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path, readable=False)
"""Type of DIR, FILE and PATH arguments; whether they exist is for the command to say, with a remedy."""


DIRECTORY = click.argument("directory", metavar="[DIR]", required=False, type=PATH)
"""The store, where a command has no other operand."""


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


def operand(manager: StorageManager, path: Path) -> bytes:
    """Return a PATH operand relative to the store: as the shell means it, else (with -C) from the store's root."""
    try:
        return manager.relative(Path.cwd() / path)
    except UsageError:
        if path.is_absolute():
            raise
        return manager.relative(path)


def subtree(cli: Cli, manager: StorageManager, under: Path | None) -> bytes:
    """Return `--under` relative to the store, "" for all of it. Says so when the name is not there: a typing error?"""
    if under is None:
        return b""
    path = operand(manager, under)
    try:
        os.lstat(os.path.join(manager.store.root_bytes, path))
    except (FileNotFoundError, NotADirectoryError):
        cli.out.note(f"--under {show_name(path)}: there is nothing of this name in the store", style="yellow")
    except OSError:
        pass  # whether it is there is not for everybody to see
    return path
