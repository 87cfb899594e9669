"""A view as a file for other tools, row after row: CSV, JSON lines, Parquet; or all views in one SQLite file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import UsageError
from indexer.index.surface import LEDGER_VIEWS, VIEWS, type_of
from indexer.reports.atomic import replacing
from indexer.reports.reading import open_views
from indexer.units import show_name

if TYPE_CHECKING:
    from indexer.store import Store

ROWS_AT_ONCE = 20_000
"""Rows that are in memory at a time: about 10 MB."""

Rows = Iterator[list[tuple[Any, ...]]]


def names() -> list[str]:
    """Return the views that can be exported."""
    return [*VIEWS, *LEDGER_VIEWS]


def export(
    store: Store, target: Path, now: int, *, view: str | None = None, mode: int | None = None, group: str | None = None
) -> int:
    """Write a snapshot as of `now` (Unix seconds) to `target`, in the format that its suffix names; return its rows.

    `view` is one of the contract's (`files` unless given); a `.db` has all of them, and its rows are its files. The
    file appears whole or not at all, see `replacing`. Raises UsageError, NotScannedError, IndexDatabaseError,
    FilesystemError.
    """
    _refuse_own_state(store, target)
    if target.suffix == ".db":
        if view is not None:
            raise UsageError("a .db has all views", remedy="leave --view out, or choose .csv, .jsonl or .parquet")
        from indexer.reports.publish import publish

        return publish(store, target, now, mode=mode, group=group)
    write = _FORMATS.get(target.suffix)
    if write is None:
        raise UsageError(
            f"{show_name(os.fsencode(target))}: the suffix does not name a format",
            remedy=f"end it with .db, {', '.join(_FORMATS)}",
        )
    name = view or "files"
    found = {**VIEWS, **LEDGER_VIEWS}.get(name)
    if found is None:
        raise UsageError(f"there is no view {name!r}", remedy=f"views: {', '.join(names())}")
    columns = list(found.columns)
    types = [type_of(column, name) for column in columns]
    with open_views(store, now) as reader, replacing(target, mode=mode, group=group) as temporary:
        source = name
        if name in LEDGER_VIEWS:
            # The ledger's writer waits for whoever reads it, so it is read at once, into a file of SQLite's own.
            reader.connection.execute("ATTACH '' AS spool")
            reader.connection.execute(f"CREATE TABLE spool.rows AS SELECT * FROM {name}")
            source = "spool.rows"
        return write(temporary, columns, types, _rows(reader.connection.execute(f"SELECT * FROM {source}")))


def _rows(cursor: Any) -> Rows:
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield rows


def _refuse_own_state(store: Store, target: Path) -> None:
    """Keep an export out of the control directory: a slip of the hand must not replace the index or the ledger."""
    place = Path(os.path.realpath(target.parent))
    for own in (store.control, store.state):
        if place.is_relative_to(os.path.realpath(own)):
            raise UsageError(
                f"{show_name(os.fsencode(target))} lies in the store's own state", remedy="name a file elsewhere"
            )


def _csv(path: Path, columns: Sequence[str], types: Sequence[str], rows: Rows) -> int:
    """Write comma-separated values; NULL is empty, bytes are hexadecimal."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for chunk in _plain(types, rows):
            writer.writerows(chunk)
            count += len(chunk)
    return count


def _jsonl(path: Path, columns: Sequence[str], types: Sequence[str], rows: Rows) -> int:
    """Write one JSON object a line; bytes are hexadecimal."""
    count = 0
    encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
    with path.open("w", encoding="utf-8", newline="") as file:
        for chunk in _plain(types, rows):
            file.writelines(encode(dict(zip(columns, row, strict=True))) + "\n" for row in chunk)
            count += len(chunk)
    return count


def _plain(types: Sequence[str], rows: Rows) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the same rows without bytes."""
    exact = [place for place, kind in enumerate(types) if kind == "BLOB"]
    for chunk in rows:
        if not any(row[place] is not None for row in chunk for place in exact):
            yield chunk
            continue
        yield [[value.hex() if isinstance(value, bytes) else value for value in row] for row in chunk]


def _parquet(path: Path, columns: Sequence[str], types: Sequence[str], rows: Rows) -> int:
    """Write Parquet, a row group for each chunk."""
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed", remedy='pip install "storage-indexer[parquet]"'
        ) from error
    kinds = {"INTEGER": pa.int64(), "TEXT": pa.string(), "BLOB": pa.binary()}
    schema = pa.schema([(column, kinds[kind]) for column, kind in zip(columns, types, strict=True)])
    count = 0
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in rows:
            arrays = [
                pa.array(values, type=field.type)
                for values, field in zip(zip(*chunk, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            count += len(chunk)
    return count


_FORMATS: dict[str, Callable[[Path, Sequence[str], Sequence[str], Rows], int]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
