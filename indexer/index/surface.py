"""The SQL surface (CONTRACT §5): every stable view, what its columns mean, and the SELECT that makes it.

The reference (docs/reference/sql.md) is written from here. `indexer.index.views` makes them on a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexer.records import NEVER

_NS = 1_000_000_000


def seconds(ns: str) -> str:
    """Return SQL for whole seconds of `ns`, rounded down also before 1970 (SQLite's / rounds towards zero)."""
    return f"({ns} - (({ns} % {_NS}) + {_NS}) % {_NS}) / {_NS}"


def _permission(column: str) -> str:
    """Return SQL for one column of a file's permissions; a subquery, because an aggregate would keep an unused join."""
    return f"(SELECT p.{column} FROM permission p WHERE p.id = f.permission_id)"


NAME = "CASE typeof(f.name) WHEN 'blob' THEN text_of(f.name) ELSE f.name END"
PATH = f"dir_path(f.directory_id) || {NAME}"
USED_AT = "max(f.atime, coalesce(f.used_at, f.atime))"
# What is stored for a class by access is a lower bound (an access writes only used_at); NULL stays NULL.
# A file whose name bears no time, in a class that ages by it, stands at NEVER: for people it has no clock.
_KNOWN = f"nullif(f.clock, {NEVER})"
CLOCK_AT = f"CASE WHEN instr(c.clocks, 'atime') THEN max({_KNOWN}, {USED_AT}) ELSE {_KNOWN} END"
_IN_UNIT = (
    "WITH RECURSIVE inside (id) AS (SELECT u.directory_id UNION ALL"
    " SELECT d.id FROM inside CROSS JOIN directory d ON d.parent_id = inside.id)"
)
# Of a child that goes as one (unit u of class c). A dirty row's clock is only a bound: its files are asked.
UNIT_CLOCK = (
    f"nullif(CASE WHEN u.dirty THEN ({_IN_UNIT} SELECT max(CASE WHEN instr(c.clocks, 'atime')"
    f" THEN max(f.clock, {USED_AT}) ELSE f.clock END) FROM inside CROSS JOIN file f ON f.directory_id = inside.id"
    f" WHERE f.class_id = u.class_id) ELSE u.clock END, {NEVER})"
)
UNIT_PATH = "rtrim(dir_path(u.directory_id), '/')"


def unit_sum(column: str) -> str:
    """Return SQL for what a child holds, from the counters: files, bytes or allocated."""
    return (
        f"({_IN_UNIT} SELECT sum(s.{column}) FROM inside CROSS JOIN usage s ON s.directory_id = inside.id"
        " AND s.class_id = u.class_id)"
    )


# A file's clock for people: that of its child, where the child goes as one.
WHOLE_CLOCK = (
    "CASE WHEN c.unit = 'child' AND f.clock IS NOT NULL THEN coalesce((WITH RECURSIVE above (id) AS"
    " (SELECT f.directory_id UNION ALL SELECT d.parent_id FROM above CROSS JOIN directory d ON d.id = above.id)"
    f" SELECT {UNIT_CLOCK} FROM above CROSS JOIN unit u ON u.directory_id = above.id AND u.class_id = f.class_id),"
    f" {CLOCK_AT}) ELSE {CLOCK_AT} END"
)
IN_CHILD = (
    "c.unit = 'child' AND NOT EXISTS (SELECT 1 FROM own_directory o"
    " WHERE o.class_id = f.class_id AND o.directory_id = f.directory_id)"
)
CTIME = "f.mtime + f.ctime_after"
_SUMS = "sum({0}files) AS files, sum({0}bytes) AS bytes, sum({0}allocated) AS allocated"
CLASS_SUMS = "class_sums"
"""A view over the counters of classes, which `indexer.index.views` makes first: class_id, files, bytes, allocated."""


_TEXT_COLUMNS = """
path directory name extension kind class tier child reason by trigger user policy refused action outcome error
"""
_TEXT = frozenset(_TEXT_COLUMNS.split())


def type_of(column: str, view: str = "") -> str:
    """Return the SQLite type of a view's column."""
    if column == "path_bytes":
        return "BLOB"
    return "TEXT" if column in _TEXT or (view == "runs" and column == "mode") else "INTEGER"


@dataclass(frozen=True, slots=True)
class View:
    """One stable view: what a row is, what each column means, and how it is made."""

    about: str
    columns: Mapping[str, str]
    sql: str


def _usage_columns(of: str) -> dict[str, str]:
    return {
        "files": f"how many files {of}",
        "bytes": "their apparent sizes",
        "allocated": "bytes of the blocks charged to them: an inode with several names counts once",
    }


_PATH = "relative to the store, always valid text: undecodable bytes are shown as `\\xff`"
_FILE = {
    "path": "relative to the store, always valid text: undecodable bytes are shown as `\\xff`; a child directory that"
    " goes as one is one row",
    "class": "its class",
    "expires_at": "its clock + the class's ttl: it is due after this moment",
    "allocated": "bytes of its blocks",
}

VIEWS: dict[str, View] = {
    "files": View(
        "One row a file. Reading it in full costs a pass over the index; `path`, `directory`, `path_bytes`, `extension`"
        " and `held` are computed only where they are used.",
        {
            "path": _PATH,
            "path_bytes": "the exact bytes; NULL unless the path is not UTF-8",
            "directory": "path of its directory (`directories.path`); empty for the root",
            "name": "its last component, as text",
            "extension": "lower case, without the dot; empty where there is none",
            "kind": "`file`, `symlink` or `other`",
            "size": "apparent size (`st_size`)",
            "allocated": "bytes of its blocks (`st_blocks` × 512), whether or not they are charged to this name",
            "links": "how many names the inode has",
            "uid": "owner",
            "gid": "group",
            "mode": "permission bits (`st_mode & 07777`)",
            "dev": "device number of its filesystem at the last start; changes at reboot",
            "inode": "inode number; above 2⁶³ it wraps to negative",
            "mtime": "last change of the content",
            "atime": "last access as the filesystem tells it",
            "used_at": "last use: the later of atime and the observed use",
            "ctime": "last change of the inode",
            "btime": "birth; NULL where the filesystem keeps none",
            "first_seen": "when it arrived",
            "clock_at": 'its class\'s true clock, of a class with `unit = "child"` that of its child; NULL: not aged'
            " (no class, or excluded)",
            "class": "its class; NULL: in none",
            "tier": "its class's tier",
            "expires_at": "clock_at + the class's ttl; NULL: it never expires",
            "held": "1 when a hold or a lease covers it, else 0",
        },
        f"""
        SELECT {PATH} AS path, path_bytes(f.directory_id, f.name) AS path_bytes,
            rtrim(dir_path(f.directory_id), '/') AS directory, {NAME} AS name, extension_of(f.name) AS extension,
            CASE {_permission("mode")} & 61440
                WHEN 32768 THEN 'file' WHEN 40960 THEN 'symlink' ELSE 'other' END AS kind,
            f.size AS size, f.blocks * 512 AS allocated, f.links AS links, {_permission("uid")} AS uid,
            {_permission("gid")} AS gid, {_permission("mode")} & 4095 AS mode,
            (SELECT s.dev FROM directory d JOIN filesystem s ON s.id = d.filesystem_id
                WHERE d.id = f.directory_id) AS dev,
            f.inode AS inode, f.mtime AS mtime, f.atime AS atime,
            {USED_AT} AS used_at, {CTIME} AS ctime,
            {CTIME} + {seconds("f.birth_after")} AS btime, f.first_seen AS first_seen,
            {WHOLE_CLOCK} AS clock_at, c.name AS class, c.tier AS tier, {WHOLE_CLOCK} + c.ttl AS expires_at,
            is_held(f.directory_id, f.name) AS held
        FROM file f LEFT JOIN class c ON c.id = f.class_id
        """,
    ),
    "directories": View(
        "One row a directory, with what lies directly in it. From the counters.",
        {
            "path": "relative to the store; empty for the root",
            **_usage_columns("lie directly in it"),
            "mtime": "when names in it last changed",
        },
        f"""
        SELECT rtrim(dir_path(d.id), '/') AS path, coalesce(sum(u.files), 0) AS files,
            coalesce(sum(u.bytes), 0) AS bytes, coalesce(sum(u.allocated), 0) AS allocated,
            {seconds("d.mtime_ns")} AS mtime
        FROM directory d LEFT JOIN usage u ON u.directory_id = d.id
        WHERE d.parent_id IS NOT NULL OR d.id = 1
        GROUP BY d.id
        """,
    ),
    "tree": View(
        "One row a directory, with all that lies below it. From the counters; the cost grows with directories × depth.",
        {
            "path": "relative to the store; empty for the root",
            "depth": "0 for the root",
            **_usage_columns("lie in it and below"),
        },
        """
        WITH RECURSIVE down (id, depth) AS (
            SELECT 1, 0 UNION ALL
            SELECT d.id, down.depth + 1 FROM down CROSS JOIN directory d ON d.parent_id = down.id
        ), up (id, top) AS (
            SELECT id, id FROM down UNION ALL
            SELECT up.id, d.parent_id FROM up CROSS JOIN directory d ON d.id = up.top WHERE d.parent_id IS NOT NULL
        ), sums AS (
            SELECT up.top AS id, sum(u.files) AS files, sum(u.bytes) AS bytes, sum(u.allocated) AS allocated
            FROM up CROSS JOIN usage u ON u.directory_id = up.id GROUP BY up.top
        )
        SELECT rtrim(dir_path(down.id), '/') AS path, down.depth AS depth, coalesce(sums.files, 0) AS files,
            coalesce(sums.bytes, 0) AS bytes, coalesce(sums.allocated, 0) AS allocated
        FROM down LEFT JOIN sums ON sums.id = down.id
        """,
    ),
    "usage_by_class": View(
        "One row a class, in no particular order, and one (class NULL) for files in no class. From the counters.",
        {
            "class": "its name; NULL: files in no class",
            "tier": "its tier",
            **_usage_columns("it has, excluded ones included"),
            "oldest": "smallest clock of its files; for a class by access the smallest known lower bound",
            "newest": "largest clock, in the same way",
            "quota_high": "eviction starts here; NULL: no quota",
            "quota_low": "eviction stops here",
        },
        f"""
        SELECT c.name AS class, c.tier AS tier, coalesce(u.files, 0) AS files, coalesce(u.bytes, 0) AS bytes,
            coalesce(u.allocated, 0) AS allocated,
            (SELECT min(f.clock) FROM file f WHERE f.class_id = c.id AND f.clock < {NEVER}) AS oldest,
            (SELECT max(f.clock) FROM file f WHERE f.class_id = c.id AND f.clock < {NEVER}) AS newest,
            c.quota_high AS quota_high, c.quota_low AS quota_low
        FROM class c LEFT JOIN {CLASS_SUMS} u ON u.class_id = c.id WHERE c.live OR u.files > 0
        UNION ALL
        SELECT NULL, NULL, files, bytes, allocated, NULL, NULL, NULL, NULL
        FROM {CLASS_SUMS} WHERE class_id = 0 AND files > 0
        """,
    ),
    "usage_by_tier": View(
        "One row a tier, and one (tier NULL) for files in no class. From the counters.",
        {"tier": "the label of the classes", **_usage_columns("its classes have")},
        f"""
        SELECT c.tier AS tier, {_SUMS.format("u.")} FROM {CLASS_SUMS} u LEFT JOIN class c ON c.id = u.class_id
        GROUP BY c.tier HAVING sum(u.files) > 0 OR c.tier IS NOT NULL
        """,
    ),
    "usage_by_owner": View(
        "One row an owner. One pass over the file table.",
        {"uid": "the owner's number", **_usage_columns("the owner has")},
        f"""
        SELECT p.uid AS uid, {_SUMS.format("o.")}
        FROM (SELECT permission_id, count(*) AS files, sum(size) AS bytes, sum(blocks * charged) * 512 AS allocated
              FROM file GROUP BY permission_id) o
        CROSS JOIN permission p ON p.id = o.permission_id GROUP BY p.uid
        """,
    ),
    "usage_by_child": View(
        "One row for each direct child directory of a class (a job, a user's uploads). From the counters.",
        {
            "class": "its name; NULL: in no class",
            "child": "the first directory below the class's own, by name; NULL: files directly in the class's own",
            **_usage_columns("lie in the child and below"),
            "quota_high": "the child's quota, for a class with quotas per child; else NULL",
        },
        f"""
        SELECT c.name AS class, child_of(c.name, u.directory_id) AS child, {_SUMS.format("u.")},
            child_quota(c.name, child_of(c.name, u.directory_id)) AS quota_high
        FROM usage u LEFT JOIN class c ON c.id = u.class_id GROUP BY u.class_id, child HAVING sum(u.files) > 0
        """,
    ),
    "expired": View(
        "What is past its ttl now, whatever stands in its way (see `plan`); costs what is due, not what there is.",
        _FILE,
        f"""
        SELECT {PATH} AS path, c.name AS class, {CLOCK_AT} + c.ttl AS expires_at, f.blocks * 512 AS allocated
        FROM class c CROSS JOIN file f ON f.class_id = c.id AND f.clock < now() - c.ttl
        WHERE c.live AND c.ttl IS NOT NULL AND c.unit = 'file' AND {CLOCK_AT} < now() - c.ttl
        UNION ALL
        SELECT {UNIT_PATH}, c.name, {UNIT_CLOCK} + c.ttl, {unit_sum("allocated")}
        FROM class c CROSS JOIN unit u ON u.class_id = c.id AND u.clock < now() - c.ttl
        WHERE c.live AND c.ttl IS NOT NULL AND {UNIT_CLOCK} < now() - c.ttl
        UNION ALL
        SELECT {PATH}, c.name, {CLOCK_AT} + c.ttl, f.blocks * 512
        FROM own_directory o CROSS JOIN class c ON c.id = o.class_id
            CROSS JOIN file f ON f.directory_id = o.directory_id AND f.class_id = c.id
        WHERE c.live AND c.ttl IS NOT NULL AND {CLOCK_AT} < now() - c.ttl
        """,
    ),
    "expiring": View(
        "Everything that has an expiry date, past ones included, ordered by it. One pass.",
        _FILE,
        f"""
        SELECT {PATH} AS path, c.name AS class, {CLOCK_AT} + c.ttl AS expires_at, f.blocks * 512 AS allocated
        FROM class c CROSS JOIN file f ON f.class_id = c.id AND f.clock < {NEVER}
        WHERE c.live AND c.ttl IS NOT NULL AND c.unit = 'file'
        UNION ALL
        SELECT {UNIT_PATH}, c.name, {UNIT_CLOCK} + c.ttl, {unit_sum("allocated")}
        FROM class c CROSS JOIN unit u ON u.class_id = c.id AND u.clock < {NEVER}
        WHERE c.live AND c.ttl IS NOT NULL
        UNION ALL
        SELECT {PATH}, c.name, {CLOCK_AT} + c.ttl, f.blocks * 512
        FROM own_directory o CROSS JOIN class c ON c.id = o.class_id
            CROSS JOIN file f ON f.directory_id = o.directory_id AND f.class_id = c.id AND f.clock < {NEVER}
        WHERE c.live AND c.ttl IS NOT NULL ORDER BY 3
        """,
    ),
}

LEDGER_VIEWS: dict[str, View] = {
    "usage_history": View(
        "Samples of usage, as the ledger keeps them.",
        {
            "at": "when the sample was taken",
            "class": "NULL: files in no class",
            **_usage_columns("the class had"),
        },
        "SELECT at, nullif(class, '') AS class, files, bytes, allocated FROM ledger.usage_history",
    ),
    "holds": View(
        "Holds in force now.",
        {
            "path": "the file, or the directory with all below it",
            "until": "its end; NULL: until it is released",
            "reason": "why, as the one who holds says",
            "by": "who",
        },
        'SELECT path, until, reason, "by" FROM ledger.hold WHERE until IS NULL OR until > now()',
    ),
    "notices": View(
        "What published notices have named: the last one of each path.",
        {
            "path": _FILE["path"],
            "class": "the class it had",
            "published": "when the command that tells people had ended well",
            "goes_at": "the earliest moment that it may go",
            "clock_at": "the class's clock then: a younger one voids the notice",
            "reason": "why it will go: `expired` or `quota`",
        },
        "SELECT path, class, published, goes_at, clock_at, reason FROM ledger.notice",
    ),
    "runs": View(
        "One row a run, real ones only.",
        {
            "id": "what `restore --run` takes",
            "started": "when",
            "finished": "NULL: in flight, or cut off",
            "kind": "`expire`, `cleanup`, `quota`, `watermark`, `restore` or `purge`",
            "trigger": "who started it: `command`, `schedule`, `api`, `watermark`, `recovery`, or `override GUARD`",
            "user": "for whom",
            "mode": "the store's mode",
            "policy": "fingerprint of the policy",
            "files_removed": "files that left their place",
            "bytes_freed": "bytes of blocks really returned",
            "bytes_trashed": "bytes of blocks now in the trash",
            "refused": "the guard that refused the run; NULL: none",
        },
        "SELECT id, started, finished, kind, trigger, user, mode, policy, files_removed, bytes_freed, bytes_trashed,"
        " refused FROM ledger.run",
    ),
    "actions": View(
        "One row for each thing a run did or meant to do.",
        {
            "run": "`runs.id`",
            "path": _PATH,
            "class": "the class it had",
            "action": "`trash`, `delete` or `rmdir`",
            "reason": "why it went",
            "size": "apparent size",
            "allocated": "bytes of its blocks",
            "uid": "owner",
            "mtime": "last change of the content",
            "used_at": "last use",
            "clock_at": "the class's clock that decided",
            "ttl": "the class's ttl then, in seconds",
            "outcome": "what became of it; NULL: in flight, or cut off",
            "error": "why it stayed or failed",
            "at": "when",
            "restorable_until": "while it lies in the trash",
            "child": "the child directory that it went with, all of it at once; NULL: it went by itself",
        },
        "SELECT run_id AS run, path, class, action, reason, size, allocated, uid,"
        f" {seconds('mtime_ns')} AS mtime, used_at, clock_at, ttl, outcome, error, at, restorable_until,"
        " child FROM ledger.action",
    ),
}
