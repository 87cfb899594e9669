"""Read-only SQL on the views: anything that reads them is allowed, anything else is refused before it runs.

Three walls, none of which reads the text of the statement: it must compile where there is nothing but the views
(`surface_check`); an authorizer lets it select, from the views, with functions of a list; and the connection is opened
read-only, with query_only set. A progress handler ends it when its time is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

try:  # what the index picks as well
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

from indexer.errors import IndexerError, UsageError
from indexer.index.surface import CLASS_SUMS, LEDGER_VIEWS, VIEWS
from indexer.reports.reading import open_views
from indexer.reports.surface_check import compile_on_surface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.store import Store

TIMEOUT = 10.0
"""Seconds that a query may take."""
MAX_ROWS = 100_000
MAX_TEXT = 1_000_000
"""Characters of a query."""
MAX_VALUE = 64 * 1024**2
"""Bytes of a single value, where this SQLite's Python module can set the limit."""
STEPS = 10_000
"""Steps of SQLite's virtual machine between two looks at the clock: about 1 ms."""

# Numbers of sqlite3.h: pysqlite3 and sqlite3 name only some of them.
_READ, _SELECT, _FUNCTION, _RECURSIVE = 20, 21, 31, 33
_OK, _DENY = 0, 1

_VIEWS = frozenset({*VIEWS, *LEDGER_VIEWS})
_WITHIN = _VIEWS | {"down", "up", "sums", "inside", "above", CLASS_SUMS}
"""Where our own tables may be read: in the views, and in the subqueries that they are made of."""
_FREE = frozenset({"json_each", "json_tree"})
_FUNCTION_LIST = """
abs char coalesce concat concat_ws format glob hex if ifnull iif instr length like likelihood likely lower ltrim max
min nullif octet_length printf quote replace round rtrim sign soundex substr substring trim typeof unhex unicode
unlikely upper
current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch
avg count group_concat median percentile percentile_cont percentile_disc string_agg sum total
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
acos asin atan atan2 ceil ceiling cos degrees exp floor ln log log10 log2 mod pi pow power radians random sin sqrt
tan trunc
-> ->> json json_array json_array_length json_extract json_group_array json_group_object json_object json_quote
json_type json_valid
child_of child_quota dir_path extension_of is_held now path_bytes text_of
"""
_FUNCTIONS = frozenset(_FUNCTION_LIST.split())


def query(
    store: Store,
    text: str,
    now: int,
    *,
    timeout: float = TIMEOUT,
    max_rows: int = MAX_ROWS,
    heap: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run one query on the views; `columns`, `rows` (a list each) and `truncated` (there were more than `max_rows`).

    `now` is what the function now() returns, `timeout` is in seconds. `heap` bounds the bytes that SQLite may take,
    for this whole process from now on: only for a process that does nothing else. Raises UsageError for a query that
    is wrong or not allowed, IndexerError when it takes too long or too much, NotScannedError, IndexDatabaseError.
    """
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"the query has more than {MAX_TEXT:,} characters", remedy="load lists into a table of your own"
        )
    if not text.strip():
        raise UsageError("the query is empty", remedy="write a SELECT")
    with open_views(store, now) as reader:
        connection = reader.connection
        if heap is not None:
            connection.execute(f"PRAGMA hard_heap_limit = {int(heap)}")
        if hasattr(connection, "setlimit"):
            connection.setlimit(0, MAX_VALUE)  # SQLITE_LIMIT_LENGTH
        for table in _FREE:
            # SQLite 3.40 makes such a table at its first use, in a way that the authorizer would have to allow.
            connection.execute(f"SELECT 1 FROM {table}('[]')")
        connection.execute("PRAGMA query_only = 1")
        denied: list[str] = []
        connection.set_authorizer(_authorizer(denied))
        deadline = clock() + timeout
        connection.set_progress_handler(lambda: clock() > deadline, STEPS)
        try:
            compile_on_surface(text, _authorizer(denied), lambda: clock() > deadline, STEPS)
            cursor = connection.execute(text)
            if cursor.description is None:
                raise UsageError("the query returns no columns", remedy="write a SELECT")
            columns = [column[0] for column in cursor.description]
            rows = list(_first(cursor, max_rows + 1))
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise _explained(error, denied, late=clock() > deadline, timeout=timeout) from error
        finally:
            connection.set_progress_handler(None, 0)
            connection.set_authorizer(None)
    return {"columns": columns, "rows": rows[:max_rows], "truncated": len(rows) > max_rows}


def too_long(timeout: float) -> IndexerError:
    """Return what a query that took more than `timeout` seconds is answered."""
    return IndexerError(
        f"the query took longer than {timeout:g} s",
        remedy="narrow it, select fewer columns (a path costs most), or give it longer with --timeout",
    )


def _first(cursor: Any, count: int) -> Iterator[list[Any]]:
    for _, row in zip(range(count), cursor, strict=False):
        yield list(row)


def _authorizer(denied: list[str]) -> Callable[..., int]:
    """Return the callback that SQLite asks about each thing a statement would do; refusals are noted in `denied`."""

    def allow(action: int, first: str | None, second: str | None, _database: str | None, source: str | None) -> int:
        if action in {_SELECT, _RECURSIVE}:
            return _OK
        if action == _READ:
            # A column of a view; a table inside one (source is the view); a join that reads no column (""); and what
            # dir_path() looks up when it is called.
            lookup = first == "directory" and second in {"id", "parent_id", "name"}
            if first in _VIEWS or first in _FREE or source in _WITHIN or second == "" or lookup:
                return _OK
            denied.append(f"the table {first!r}")
        elif action == _FUNCTION:
            if (second or "").lower() in _FUNCTIONS:
                return _OK
            denied.append(f"the function {second}()")
        else:
            denied.append(_ACTIONS.get(action, "anything but reading"))
        return _DENY

    return allow


_ACTIONS = {19: "PRAGMA", 22: "a transaction", 24: "ATTACH", 25: "DETACH", 32: "SAVEPOINT"}


def _explained(error: Exception, denied: list[str], *, late: bool, timeout: float) -> IndexerError:
    message = str(error)
    if denied:
        return UsageError(
            f"{denied[0]} is not allowed here: queries only read the views",
            remedy=f"views: {', '.join(sorted(_VIEWS))}; their columns are in the SQL reference",
        )
    if late or "interrupted" in message:
        return too_long(timeout)
    if isinstance(error, MemoryError) or "too big" in message or "out of memory" in message:
        return IndexerError(
            "the query needs too much memory", remedy="aggregate less in one value, or return fewer rows"
        )
    if "no such table: " in message:
        return UsageError(
            f"{message.partition(': ')[2]!r} is not allowed here: it is none of the views",
            remedy=f"views: {', '.join(sorted(_VIEWS))}",
        )
    if "one statement at a time" in message:
        return UsageError("there is more than one statement", remedy="run them one by one")
    return UsageError(f"the query cannot be run: {message}", remedy="see the SQL reference for views and columns")
