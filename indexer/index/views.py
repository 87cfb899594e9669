"""The views of CONTRACT §5 on a read connection, with the SQL functions they use.

They are TEMP views over the index and the attached ledger and cost nothing until they are asked. A column that needs a
Python function (a path above all) is only computed where a query uses it: SQLite drops what a flattened view's columns
would cost when nobody asks for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from indexer.index import derived
from indexer.index.rows import name_of
from indexer.index.surface import CLASS_SUMS, LEDGER_VIEWS, VIEWS
from indexer.units import text_of

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.index.queries import Reader


def install(
    reader: Reader,
    *,
    now: Callable[[], int],
    ledger: Path | None = None,
    protection: Callable[[bytes], str | None] | None = None,
    prefixes: Mapping[str, tuple[str, ...]] | None = None,
    child_quotas: Mapping[str, int] | None = None,
) -> None:
    """Make the views and their functions on the reader's connection.

    `now` returns Unix seconds. Without `ledger` (or before there is one) its views are there, and empty. `protection`
    tells whether a hold or lease covers a path, `prefixes` which directories are a class's own (for `child`),
    `child_quotas` how many bytes each child of a class may hold.
    """
    _functions(reader, now, protection, prefixes or {}, child_quotas or {})
    connection = reader.connection
    attached = ledger is not None and ledger.exists()
    if attached and ledger is not None:
        quoted = os.fspath(ledger).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        connection.execute("ATTACH ? AS ledger", (f"file:{quoted}?mode=ro",))
    own_directories(reader)
    connection.execute(
        f"CREATE TEMP VIEW {CLASS_SUMS} AS SELECT class_id, sum(files) AS files, sum(bytes) AS bytes,"
        f" sum(allocated) AS allocated FROM {derived.counters(connection)} GROUP BY class_id"
    )
    for name, view in VIEWS.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {view.sql}")
    for name, view in LEDGER_VIEWS.items():
        nothing = ", ".join(f'NULL AS "{column}"' for column in view.columns)
        connection.execute(f"CREATE TEMP VIEW {name} AS {view.sql if attached else f'SELECT {nothing} WHERE 0'}")


def own_directories(reader: Reader) -> None:
    """Make the table of the directories whose files lie in no child, though their class has `unit = "child"`."""
    reader.connection.execute("CREATE TEMP TABLE own_directory (class_id INTEGER, directory_id INTEGER)")
    for class_id, path in json.loads(reader.meta("own") or "[]"):
        directory_id = reader.directory_id(path.encode("utf-8", "surrogateescape"))
        if directory_id is not None:
            reader.connection.execute("INSERT INTO own_directory VALUES (?, ?)", (class_id, directory_id))


def _functions(
    reader: Reader,
    now: Callable[[], int],
    protection: Callable[[bytes], str | None] | None,
    prefixes: Mapping[str, tuple[str, ...]],
    child_quotas: Mapping[str, int],
) -> None:
    """Register the SQL functions; a directory in limbo has no path, and so have its files."""
    last: bytes | None = None
    called: str | None = None
    # The directory of the last row and what it is called: rows come directory by directory.

    def dir_path(directory_id: int) -> str | None:
        nonlocal last, called
        path = reader.directory_path(directory_id)
        if path is not last:
            last, called = path, None if path is None else text_of(path) + "/" if path else ""
        return called

    def whole(directory_id: int, name: str | bytes) -> bytes | None:
        path = reader.directory_path(directory_id)
        return None if path is None else path + b"/" + name_of(name) if path else name_of(name)

    legible: list[bytes | None] = [None]
    """The directory of the last row, where it is UTF-8: rows come directory by directory."""

    def path_bytes(directory_id: int, name: str | bytes) -> bytes | None:
        path = reader.directory_path(directory_id)
        if isinstance(name, str):  # it is stored as text because it is UTF-8
            if path is None or path is legible[0]:
                return None
            try:
                path.decode()
            except UnicodeDecodeError:
                return whole(directory_id, name)
            legible[0] = path
            return None
        return whole(directory_id, name)

    def is_held(directory_id: int, name: str | bytes) -> int:
        if not protection:  # nothing is protected: no row needs its path
            return 0
        path = whole(directory_id, name)
        return int(path is not None and protection(path) is not None)

    def extension_of(name: str | bytes) -> str:
        stem, _, extension = (name if isinstance(name, str) else text_of(name)).rpartition(".")
        return extension.lower() if stem.strip(".") else ""  # as os.path.splitext, which takes four times as long

    own = {name: [prefix.encode("utf-8", "surrogateescape") for prefix in found] for name, found in prefixes.items()}

    def child_of(class_name: str | None, directory_id: int) -> str | None:
        path = reader.directory_path(directory_id)
        if path is None:
            return None
        for prefix in own.get(class_name or "", ()):
            if path == prefix:
                return None
            if path.startswith(prefix + b"/"):
                path = path[len(prefix) + 1 :]
                break
        return text_of(path.split(b"/", 1)[0]) if path else None

    def child_quota(class_name: str | None, child: str | None) -> int | None:
        return child_quotas.get(class_name) if class_name is not None and child is not None else None

    functions: tuple[tuple[Callable[..., object], int], ...] = (
        (dir_path, 1),
        (path_bytes, 2),
        (is_held, 2),
        (extension_of, 1),
        (child_of, 2),
        (child_quota, 2),
    )
    for function, arguments in functions:
        reader.connection.create_function(function.__name__, arguments, function)
    reader.connection.create_function("text_of", 1, text_of, deterministic=True)
    reader.connection.create_function("now", 0, now)
