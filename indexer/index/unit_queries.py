"""Child directories that age as one, read from the index: those that are due, or as they give way."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from indexer.index.rows import COLUMNS
from indexer.index.unit_sql import BELOW, LEAST
from indexer.records import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from indexer.index.queries import Reader
    from indexer.rules import Rule

_FILES = (
    f"{BELOW.format('?')} SELECT {', '.join(f'file.{column.strip()}' for column in COLUMNS.split(','))}"
    " FROM below CROSS JOIN file ON file.directory_id = below.id"
    " WHERE file.class_id = (SELECT id FROM class WHERE name = ?) ORDER BY below.id, file.name"
)
_DIRECTORIES = (
    f"{BELOW.format('?')} SELECT below.id, d.problem FROM below CROSS JOIN directory d ON d.id = below.id ORDER BY 1"
)
DUE = (
    "SELECT unit.directory_id FROM class CROSS JOIN unit ON unit.class_id = class.id"
    " WHERE class.name = ? AND unit.clock < ? ORDER BY unit.clock, unit.directory_id"
)
BY_CLOCK = (
    "SELECT unit.directory_id, unit.clock FROM class CROSS JOIN unit ON unit.class_id = class.id"
    " WHERE class.name = ? ORDER BY unit.clock"
)
BY_ARRIVAL = (
    "SELECT unit.directory_id, unit.arrived FROM class CROSS JOIN unit ON unit.class_id = class.id"
    " WHERE class.name = ? ORDER BY unit.arrived"
)

Key = tuple[Any, ...]
"""By which units give way, the smallest first; its first item is the one that the index has a lower bound of."""


def due_units(reader: Reader, rule: Rule, before: int) -> Iterator[Unit]:
    """Yield the units whose stored clock is before `before` (Unix seconds): a superset of what is due.

    Children come out of an index on their clocks, and only their own files are read; files that lie directly in the
    class's own directory are units of their own, and are all looked at.
    """
    for (directory_id,) in reader.connection.execute(DUE, (rule.name, before)).fetchall():
        found = unit_of(reader, rule, directory_id)
        if found is not None:
            yield found
    for unit in loose(reader, rule):
        if (unit.files[0].clock or LEAST) < before:
            yield unit


def units_in_order(reader: Reader, rule: Rule, order: str, key: Callable[[Unit], Key]) -> Iterator[Unit]:
    """Yield the units of a class as they give way by `order` (clock, size, first_seen), `key` being the true one.

    What is stored is a lower bound of it: a unit waits until none that comes before it can follow. Reads no more
    children than are asked for, and those that wait.
    """
    waiting: list[tuple[Key, int, Unit]] = []
    for number, unit in enumerate(loose(reader, rule)):
        heapq.heappush(waiting, (key(unit), number, unit))
    number = len(waiting)
    for directory_id, bound in _bounds(reader, rule, order):
        while waiting and waiting[0][0][0] < bound:
            yield heapq.heappop(waiting)[2]
        found = unit_of(reader, rule, directory_id)
        if found is not None:
            number += 1
            heapq.heappush(waiting, (key(found), number, found))
    while waiting:
        yield heapq.heappop(waiting)[2]


def unit_of(reader: Reader, rule: Rule, directory_id: int) -> Unit | None:
    """Return the child whose directory this is; None where none of the class's files in it ages."""
    path = reader.directory_path(directory_id)
    if path is None:
        return None
    files = tuple(reader.decoded(reader.connection.execute(_FILES, (directory_id, rule.name))))
    if all(file.clock is None for file in files):
        return None
    rows = reader.connection.execute(_DIRECTORIES, (directory_id,)).fetchall()
    unreadable = any(problem is not None for _, problem in rows)
    return Unit(path, files, directories=tuple(row[0] for row in rows), unreadable=unreadable)


def unit_at(reader: Reader, rule: Rule, directory: bytes) -> Unit | None:
    """Return the child that a directory (path relative to the root) is or lies in; None: in none, or none that ages."""
    child = rule.child_of(directory) if rule.unit == "child" else None
    directory_id = None if child is None else reader.directory_id(child)
    return None if directory_id is None else unit_of(reader, rule, directory_id)


def loose(reader: Reader, rule: Rule) -> Iterator[Unit]:
    """Yield each file that lies directly in the class's own directory: it is in no child, and goes by itself."""
    for own in dict.fromkeys(rule.own_directories):
        if rule.child_of(own) is not None:
            continue  # a directory of the class inside another one of it is a child there
        directory_id = reader.directory_id(own)
        for file in () if directory_id is None else reader.files_in(directory_id):
            if file.class_name == rule.name and file.clock is not None:
                yield Unit(file.path, (file,), child=False, directories=(file.directory_id,))


def _bounds(reader: Reader, rule: Rule, order: str) -> Iterable[tuple[int, int]]:
    """Yield (directory id, lower bound of its key), the smallest first."""
    if order != "size":
        query = BY_CLOCK if order == "clock" else BY_ARRIVAL
        # Read to the end of what is asked for while other statements run on the same connection: SQLite allows it.
        yield from reader.connection.execute(query, (rule.name,))
        return
    sizes: dict[bytes, int] = {}
    for own in rule.own_directories:
        for path, used in reader.children_usage(rule.name, own).items():
            if rule.child_of(path) == path:
                sizes[path] = used.allocated
    for path, size in sorted(sizes.items(), key=lambda one: (-one[1], one[0])):
        directory_id = reader.directory_id(path)
        if directory_id is not None:
            yield directory_id, -size
