"""Whether a query makes sense on a database that has the views of the contract and nothing else.

An authorizer hears which name a table is read through, and a query can give that name to a subquery of its own:
`WITH files AS (SELECT * FROM main.meta) …` looks, to it, like the view `files`. Where there is no `meta` there is
nothing to hide, so each query is first compiled here, over empty tables in memory, and only then on the index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:  # what the index picks as well
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

from indexer.index.surface import LEDGER_VIEWS, VIEWS

_OURS = {"child_of": 2, "child_quota": 2, "dir_path": 1, "extension_of": 1, "is_held": 2, "now": 0, "path_bytes": 2}


def compile_on_surface(text: str, authorizer: Callable[..., int], stopping: Callable[[], bool], steps: int) -> None:
    """Compile one query on empty stand-ins of the views, under `authorizer`; it is explained there, and does not run.

    `stopping` is asked every `steps` steps of SQLite's. Raises sqlite3.Error for what is wrong with it there, and what
    else the module raises for bad text.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for name, view in {**VIEWS, **LEDGER_VIEWS}.items():
            columns = '", "'.join(view.columns)
            connection.execute(f'CREATE TABLE {name} ("{columns}")')
        for name, arguments in {**_OURS, "text_of": 1}.items():
            connection.create_function(name, arguments, _nothing)
        for table in ("json_each", "json_tree"):
            connection.execute(f"SELECT 1 FROM {table}('[]')")  # 3.40 makes it at its first use
        connection.set_authorizer(authorizer)
        connection.set_progress_handler(stopping, steps)
        try:
            connection.execute(f"EXPLAIN {text}").close()
        except sqlite3.OperationalError as error:
            if 'near "explain"' not in str(error).lower():
                raise
            connection.execute(text).close()  # an EXPLAIN of the user's
    finally:
        connection.close()


def _nothing(*_values: Any) -> None:
    """Stand in for a function of ours."""
