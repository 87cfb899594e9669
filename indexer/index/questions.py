"""What the reports ask beyond the views: narrowed to a subtree or a class, and only as much as is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from indexer.index.surface import CLOCK_AT, PATH, UNIT_CLOCK, UNIT_PATH, USED_AT, WHOLE_CLOCK, unit_sum

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.index.queries import Reader

By = Literal["class", "child", "owner", "day"]

_BELOW = (
    "WITH RECURSIVE below (id) AS (SELECT :below UNION ALL"
    " SELECT d.id FROM below CROSS JOIN directory d ON d.parent_id = below.id)"
)
_IN_BELOW = "f.directory_id IN (SELECT id FROM below)"
_UID = "(SELECT p.uid FROM permission p WHERE p.id = f.permission_id)"
_KEYS: dict[By, tuple[tuple[str, str], ...]] = {
    "class": (("class", "c.name"),),
    "child": (("class", "c.name"), ("child", "child_of(c.name, f.directory_id)")),
    "owner": (("uid", _UID),),
    "day": (("day", f"({CLOCK_AT} + c.ttl) / 86400 * 86400"), ("class", "c.name")),
}


def usage_below(reader: Reader, directory_id: int) -> dict[str | None, tuple[int, int, int]]:
    """Return {class: (files, bytes, allocated)} of a directory and all below it, from the counters."""
    rows = reader.connection.execute(
        f"{_BELOW} SELECT c.name, sum(u.files), sum(u.bytes), sum(u.allocated)"
        " FROM below CROSS JOIN usage u ON u.directory_id = below.id LEFT JOIN class c ON c.id = u.class_id"
        " GROUP BY u.class_id HAVING sum(u.files) > 0",
        {"below": directory_id},
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def largest(
    reader: Reader, *, top: int, class_name: str | None = None, below: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the `top` files with the most allocated bytes; below a directory's id, or of one class, if given."""
    return _dicts(
        reader,
        f"{_BELOW} SELECT {PATH} AS path, f.size AS bytes, f.blocks * 512 AS allocated,"
        f" c.name AS class, {_UID} AS uid, f.mtime AS mtime, {USED_AT} AS used_at, {WHOLE_CLOCK} + c.ttl AS expires_at"
        f" FROM file f LEFT JOIN class c ON c.id = f.class_id WHERE {_narrowed(class_name, below)}"
        " ORDER BY f.blocks DESC, f.size DESC, f.directory_id, f.name LIMIT :top",
        {"top": top, "class": class_name, "below": below},
    )


def expiring(
    reader: Reader,
    *,
    before: int,
    class_name: str | None = None,
    below: int | None = None,
    by: By | None = None,
    top: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what is due before the moment `before` (Unix seconds), the soonest first, or sums of it `by` something.

    A child that goes as one is one row, and counts with all of its files; it is the owner's who has most of it. Reads
    only the part of the clock indexes that lies before.
    """
    values = {"before": before, "class": class_name, "below": below, "top": -1 if top is None else top}
    keys = [] if by is None else [name for name, _ in _KEYS[by]]
    parts = " UNION ALL ".join(part.select(by, class_name, below) for part in _EXPIRING)
    if by is None:
        return _dicts(reader, f"{_BELOW} {parts} ORDER BY 3, 1 LIMIT :top", values)
    grouped = ", ".join(str(number + 1) for number in range(len(keys)))
    order = grouped if by == "day" else "allocated DESC, " + grouped
    return _dicts(
        reader,
        f"{_BELOW} SELECT {', '.join(keys)}, sum(files) AS files, sum(bytes) AS bytes, sum(allocated) AS allocated,"
        f" min(first) AS first FROM ({parts}) GROUP BY {grouped} ORDER BY {order} LIMIT :top",
        values,
    )


def due_totals(reader: Reader, now: int) -> tuple[int, int]:
    """Return (files, allocated bytes charged to them) of all that is past its ttl at `now` (Unix seconds)."""
    parts = " UNION ALL ".join(part.select("class", None, None) for part in _EXPIRING)
    files, size = reader.connection.execute(
        f"SELECT coalesce(sum(files), 0), coalesce(sum(allocated), 0) FROM ({parts})", {"before": now}
    ).fetchone()
    return int(files), int(size)


@dataclass(frozen=True, slots=True)
class _Part:
    """One kind of what expires, as SQL: files, children that go as one, files beside those."""

    path: str
    clock: str
    files: str
    bytes: str
    allocated: str
    charged: str
    uid: str
    directory: str
    source: str

    def select(self, by: By | None, class_name: str | None, below: int | None) -> str:
        """Return its rows, with the columns that `by` (None: each one) needs and no other: a path costs most."""
        date = f"({self.clock}) + c.ttl"
        named = " AND c.name = :class" if class_name is not None else ""
        within = f" AND {self.directory} IN (SELECT id FROM below)" if below is not None else ""
        source = f"FROM {self.source} AND c.live AND c.ttl IS NOT NULL AND {date} < :before{named}{within}"
        if by is None:
            return (
                f"SELECT {self.path} AS path, c.name AS class, {date} AS expires_at, {self.bytes} AS bytes,"
                f" {self.allocated} AS allocated, {self.uid} AS uid {source}"
            )
        keys = {
            "class": "c.name",
            "child": f"child_of(c.name, {self.directory})",
            "uid": self.uid,
            "day": f"({date}) / 86400 * 86400",
        }
        shown = ", ".join(f"{keys[name]} AS {name}" for name, _ in _KEYS[by])
        return (
            f"SELECT {shown}, {self.files} AS files, {self.bytes} AS bytes, {self.charged} AS allocated,"
            f" {date} AS first {source}"
        )


_MOST = (
    "(WITH RECURSIVE inside (id) AS (SELECT u.directory_id UNION ALL"
    " SELECT d.id FROM inside CROSS JOIN directory d ON d.parent_id = inside.id)"
    " SELECT p.uid FROM inside CROSS JOIN file f ON f.directory_id = inside.id AND f.class_id = u.class_id"
    " CROSS JOIN permission p ON p.id = f.permission_id GROUP BY p.uid ORDER BY sum(f.blocks) DESC, p.uid LIMIT 1)"
)
_SINGLE = (
    PATH, CLOCK_AT, "1", "f.size", "f.blocks * 512", "f.blocks * f.charged * 512", _UID, "f.directory_id",
)  # fmt: skip
_EXPIRING = (
    _Part(
        *_SINGLE,
        "class c CROSS JOIN file f ON f.class_id = c.id AND f.clock < :before - c.ttl WHERE c.unit = 'file'",
    ),
    _Part(
        UNIT_PATH,
        UNIT_CLOCK,
        unit_sum("files"),
        unit_sum("bytes"),
        unit_sum("allocated"),
        unit_sum("allocated"),
        _MOST,
        "u.directory_id",
        "class c CROSS JOIN unit u ON u.class_id = c.id AND u.clock < :before - c.ttl WHERE true",
    ),
    _Part(
        *_SINGLE,
        "own_directory o CROSS JOIN class c ON c.id = o.class_id CROSS JOIN file f"
        " ON f.directory_id = o.directory_id AND f.class_id = c.id WHERE true",
    ),
)


def stale(
    reader: Reader,
    *,
    before: int,
    class_name: str | None = None,
    below: int | None = None,
    by: By | None = None,
    top: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the files last used before the moment `before` (Unix seconds), or sums of them; the largest first.

    One pass over the file table, or over the class's or subtree's part of it.
    """
    source = (
        "FROM file f LEFT JOIN class c ON c.id = f.class_id"
        f" WHERE {USED_AT} < :before AND {_narrowed(class_name, below)}"
    )
    values = {"before": before, "class": class_name, "below": below, "top": -1 if top is None else top}
    if by is None:
        return _dicts(
            reader,
            f"{_BELOW} SELECT {PATH} AS path, c.name AS class, c.tier AS tier, f.size AS bytes,"
            f" f.blocks * 512 AS allocated, {_UID} AS uid, f.mtime AS mtime, {USED_AT} AS used_at {source}"
            " ORDER BY f.blocks DESC, f.size DESC, f.directory_id, f.name LIMIT :top",
            values,
        )
    keys = _KEYS[by]
    shown = ", ".join(f'{sql} AS "{name}"' for name, sql in keys)
    grouped = ", ".join(str(number + 1) for number in range(len(keys)))
    return _dicts(
        reader,
        f"{_BELOW} SELECT {shown}, count(*) AS files, sum(f.size) AS bytes,"
        f" sum(f.blocks * f.charged) * 512 AS allocated, min({USED_AT}) AS used_at {source}"
        f" GROUP BY {grouped} ORDER BY allocated DESC, {grouped} LIMIT :top",
        values,
    )


def age_histogram(reader: Reader, now: int, bounds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield files and allocated bytes by tier and by time since the last use, youngest first; `bounds` in seconds.

    `age` is the number of the range, counted from 0: below the first bound, below the second …, above the last.
    """
    ranges = " ".join(f"WHEN used_at > {int(now) - int(bound)} THEN {number}" for number, bound in enumerate(bounds))
    return _dicts(
        reader,
        f"SELECT CASE {ranges} ELSE {len(bounds)} END AS age, c.tier AS tier, sum(u.files) AS files,"
        " sum(u.allocated) AS allocated"
        # Grouped by day and class first: strings and tiers are looked up once a group, not once a file.
        f" FROM (SELECT max({USED_AT}) AS used_at, f.class_id, count(*) AS files,"
        f" sum(f.blocks * f.charged) * 512 AS allocated FROM file f GROUP BY ({now} - {USED_AT}) / 86400, f.class_id) u"
        " LEFT JOIN class c ON c.id = u.class_id GROUP BY 1, 2 ORDER BY 1, 2",
        {},
    )


def _narrowed(class_name: str | None, below: int | None) -> str:
    conditions = [_IN_BELOW] if below is not None else []
    conditions += ["c.name = :class"] if class_name is not None else []
    return " AND ".join(conditions) or "true"


def _dicts(reader: Reader, statement: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = reader.connection.execute(statement, values)
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)
