"""What the reports ask beyond the views: narrowed to a subtree or a class, and only as much as is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from indexer.index.surface import CLOCK_AT, PATH, USED_AT

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
        f" c.name AS class, {_UID} AS uid, f.mtime AS mtime, {USED_AT} AS used_at, {CLOCK_AT} + c.ttl AS expires_at"
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

    Reads only the part of the clock index that lies before.
    """
    date = f"{CLOCK_AT} + c.ttl"
    source = (
        f"FROM class c CROSS JOIN file f ON f.class_id = c.id AND f.clock < :before - c.ttl"
        f" WHERE c.live AND c.ttl IS NOT NULL AND {date} < :before AND {_narrowed(class_name, below)}"
    )
    values = {"before": before, "class": class_name, "below": below, "top": -1 if top is None else top}
    if by is None:
        return _dicts(
            reader,
            f"{_BELOW} SELECT {PATH} AS path, c.name AS class, {date} AS expires_at, f.size AS bytes,"
            f" f.blocks * 512 AS allocated, {_UID} AS uid {source} ORDER BY 3, f.directory_id, f.name LIMIT :top",
            values,
        )
    keys = _KEYS[by]
    shown = ", ".join(f'{sql} AS "{name}"' for name, sql in keys)
    grouped = ", ".join(str(number + 1) for number in range(len(keys)))
    order = grouped if by == "day" else "allocated DESC, " + grouped
    return _dicts(
        reader,
        f"{_BELOW} SELECT {shown}, count(*) AS files, sum(f.size) AS bytes,"
        f" sum(f.blocks * f.charged) * 512 AS allocated, min({date}) AS first {source}"
        f" GROUP BY {grouped} ORDER BY {order} LIMIT :top",
        values,
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
