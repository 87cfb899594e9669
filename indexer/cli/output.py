"""Results to stdout, everything else to stderr; names escaped, colour and progress on terminals only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

import click

from indexer.units import show_text

LINES: Final = 100
"""JSON documents that are written together."""


class Column(NamedTuple):
    """A column of a table."""

    title: str
    right: bool = False
    """Align to the right: figures."""


class Cell(NamedTuple):
    """A cell of a table that has a colour on a terminal."""

    text: str
    style: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Output:
    """How this command may print. `json`: one document on stdout, and nothing else there."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: bool = True

    def document(self, value: object) -> None:
        """Print one JSON document. Non-ASCII is escaped, so no name can upset a terminal or a locale."""
        click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))

    def streamed(self, key: str, values: Iterable[object], rest: Mapping[str, object]) -> None:
        """Print one JSON document of `rest` with the list `values` under `key`, which is never in memory as a whole."""
        if sys.stdout.isatty():
            self.document({key: list(values), **rest})
            return
        write = sys.stdout.write
        write(f"{{{json.dumps(key)}: [")
        left, comma = iter(values), ""
        while some := list(islice(left, LINES)):  # a call for each of them costs as much again
            write(comma + json.dumps(some)[1:-1])
            comma = ", "
        others = json.dumps(dict(rest))[1:-1]
        write("]" + (", " if others else "") + others + "}\n")

    def json_lines(self, values: Iterable[Mapping[str, object]]) -> None:
        """Print one JSON document a line, some lines at a time: click.echo costs 15 µs a call (measured)."""
        left = iter(values)
        while some := list(islice(left, LINES)):
            click.echo(_lines(some))

    def text(self, text: str = "", *, style: str = "") -> None:
        """Print a result for people on stdout; `style` is a colour or `bold`."""
        click.echo(self._styled(text, style), color=self._color(sys.stdout))

    def note(self, text: str, *, style: str = "") -> None:
        """Say something on stderr, unless quiet."""
        if not self.quiet:
            self.warn(text, style=style)

    def detail(self, text: str) -> None:
        """Say something on stderr that only `-v` wants to know."""
        if self.verbose:
            self.warn(text)

    def warn(self, text: str, *, style: str = "") -> None:
        """Say something on stderr, whatever the options."""
        click.echo(self._styled(text, style), err=True, color=self._color(sys.stderr))

    def table(self, columns: Sequence[str | Column], rows: Iterable[Sequence[object]]) -> None:
        """Print a table on stdout: drawn on a terminal, plain aligned columns elsewhere, whole in both."""
        heads = [column if isinstance(column, Column) else Column(column) for column in columns]
        cells = [
            [cell if isinstance(cell, Cell) else Cell("" if cell is None else str(cell)) for cell in row]
            for row in rows
        ]
        safe = [[Cell(show_text(cell.text), cell.style) for cell in row] for row in cells]
        if sys.stdout.isatty():
            self._drawn(heads, safe)
        else:
            self._plain(heads, [[cell.text for cell in row] for row in safe])

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
        """Show a progress bar on stderr while inside, if stderr is a terminal and nothing speaks against it.

        Yields `update(done, total)`; a total that is not known yet is None.
        """
        if self.quiet or self.json or not sys.stderr.isatty():
            yield _nothing
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True, no_color=not self.color), transient=True) as bar:
            task = bar.add_task(what, total=total)

            def update(done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total)

            yield update

    def _drawn(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        # "No colour" is taken to mean no escape sequence at all: bold is one, too.
        bold = "table.header" if self.color else ""
        table = Table(box=SIMPLE, show_edge=False, pad_edge=False, header_style=bold)
        for column in columns:
            table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for row in rows:
            table.add_row(
                *(Text(cell.text, style=cell.style) for cell in row)
            )  # Text: no markup, no emoji, whatever a file is called
        Console(no_color=not self.color, highlight=False).print(table)

    def _plain(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        lines = [[column.title for column in columns], *rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
        for line in lines:
            cells = [
                cell.rjust(width) if column.right else cell.ljust(width)
                for cell, width, column in zip(line, widths, columns, strict=True)
            ]
            click.echo("  ".join(cells).rstrip())

    def _styled(self, text: str, style: str) -> str:
        safe = "\n".join(show_text(line) for line in text.split("\n"))
        if not style:
            return safe
        return click.style(safe, bold=True) if style == "bold" else click.style(safe, fg=style)

    def _color(self, stream: Any) -> bool:
        return self.color and bool(stream.isatty())


def _lines(documents: Sequence[Mapping[str, object]]) -> str:
    """Return one JSON document a line.

    They are encoded together, as a list, in half the time (measured), and the line ends come where one document ends
    and the next begins, by its first key. Within a text that cannot stand: a quote is escaped there, and what follows
    the closing quote of a text is no key.
    """
    first = json.dumps(next(iter(documents[0]), ""))
    text = json.dumps(documents)[1:-1]
    begins = f"{{{first}: "
    if text.count(f"}}, {begins}") == len(documents) - 1:
        return text.replace(f"}}, {begins}", f"}}\n{begins}")
    return "\n".join(map(json.dumps, documents))  # they begin differently


def _nothing(_done: int, _total: int | None) -> None:
    """Progress that nobody sees."""
