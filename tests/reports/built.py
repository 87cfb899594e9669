"""A small index and ledger made by hand with the real migrations, for everything that only reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from indexer.index import derived
from indexer.index.database import connect_writer
from indexer.index.queries import Reader
from indexer.index.rows import COLUMNS, key_of
from indexer.index.views import install
from indexer.policy.classes import Classifier
from indexer.policy.clocks import clock_of
from indexer.rules import Rule

NOW = 1_800_000_000
DAY = 86_400
RULES = (
    Rule("uploads", ("uploads/**",), exclude=("**/.keep",), ttl=7 * DAY),
    Rule("frames", ("frames/**",), ttl=30 * DAY, tier="warm"),
    Rule("cache", ("cache/**",), ttl=3 * DAY, clocks=("mtime", "atime"), min_age=0, action="delete"),
    Rule("outputs", ("outputs/**",), tier="cold"),
)


class Built:
    """An index under construction: `file` adds rows, `close` counts usage and makes the secondary indexes."""

    def __init__(self, path: Path, rules: tuple[Rule, ...] = RULES) -> None:
        self.path = path
        self.rules = rules
        self.classifier = Classifier(rules)
        self.connection = connect_writer(path)
        self.connection.execute("INSERT INTO directory (id, name, listed_ns, mtime_ns) VALUES (1, '', 1, -1500000000)")
        self.connection.execute("INSERT INTO filesystem (id, path, dev) VALUES (1, '', 2049)")
        for position, rule in enumerate(rules):
            self.connection.execute(
                "INSERT INTO class (name, position, tier, ttl, clocks, arrival_floor) VALUES (?, ?, ?, ?, ?, ?)",
                (rule.name, position, rule.tier, rule.ttl, ",".join(rule.clocks), int(rule.arrival_floor)),
            )
        self._directories = {b"": 1}

    def directory(self, path: bytes) -> int:
        """Return the id of a directory, made with all above it."""
        found = self._directories.get(path)
        if found is None:
            above, _, name = path.rpartition(b"/")
            cursor = self.connection.execute(
                "INSERT INTO directory (parent_id, name, listed_ns, mtime_ns) VALUES (?, ?, 1, ?)",
                (self.directory(above), key_of(name), (NOW - DAY) * 10**9),
            )
            found = self._directories[path] = cursor.lastrowid
        return found

    def file(
        self,
        path: bytes | str,
        *,
        age: int = 0,
        used: int | None = None,
        size: int = 1000,
        blocks: int = 8,
        mode: int = 0o100644,
        uid: int = 1000,
        links: int = 1,
        charged: int = 1,
        birth_after: int | None = 0,
        **times: int,
    ) -> None:
        """Add a file whose times are all `age` seconds before NOW, but for `times`; `used` is the age of a use.

        `times` are atime, ctime and first_seen, in Unix seconds. The stored clock knows nothing of `used`, as in the
        index.
        """
        path = path.encode() if isinstance(path, str) else path
        directory, _, name = path.rpartition(b"/")
        at = NOW - age
        index, aged = self.classifier.of(path)
        atime, ctime, first_seen = (times.get(name, at) for name in ("atime", "ctime", "first_seen"))
        btime = None if birth_after is None else (ctime * 10**9 + birth_after) // 10**9
        clock = None
        if index is not None and aged:
            rule = self.rules[index]
            clock = clock_of(rule, mtime=at, atime=atime, ctime=ctime, btime=btime, first_seen=first_seen, name=name)
        self.connection.execute("INSERT OR IGNORE INTO permission (mode, uid, gid) VALUES (?, ?, 100)", (mode, uid))
        permission = self.connection.execute(
            "SELECT id FROM permission WHERE mode = ? AND uid = ?", (mode, uid)
        ).fetchone()[0]
        values = (
            self.directory(directory), key_of(name), size, blocks, links, permission, 77, at, ctime - at, birth_after,
            atime, None if used is None else NOW - used, first_seen, None if index is None else index + 1, clock,
            charged,
        )  # fmt: skip
        self.connection.execute(f"INSERT INTO file ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)

    def close(self) -> Path:
        """Finish it."""
        derived.make(self.connection)
        self.connection.execute("INSERT INTO meta (key, value) VALUES ('complete', ?)", (str(NOW),))
        self.connection.close()
        return self.path


def media(path: Path, rules: tuple[Rule, ...] = RULES) -> Path:
    """Build the tree that most tests read."""
    built = Built(path, rules)
    built.file("README", age=900 * DAY)
    built.file("uploads/old.MOV", age=8 * DAY, size=5_000_000, blocks=9768, birth_after=-1)
    built.file("uploads/new.mov", age=DAY, uid=0)
    built.file("uploads/.keep", age=400 * DAY, size=0, blocks=0)
    built.file("uploads/alice/a.tar.gz", age=2 * DAY, uid=1001, links=2)
    built.file("uploads/bob/a.tar.gz", age=2 * DAY, uid=1001, links=2, charged=0)
    built.file(b"frames/job-1/caf\xc3\xa9.jpg", age=31 * DAY, birth_after=None)
    built.file(b"frames/job-\xff/frame\n.jpg", age=3 * DAY)
    built.file("frames/job-1/link", age=3 * DAY, mode=0o120777, size=5, blocks=0)
    built.file("cache/read-long-ago", age=9 * DAY)
    built.file("cache/read-yesterday", age=9 * DAY, used=DAY)
    built.file("outputs/final.mp4", age=900 * DAY, size=9_000_000, blocks=17_584)
    return built.close()


def reader(path: Path, *, now: int = NOW, ledger: Path | None = None, **given: Any) -> Reader:
    """Open an index with the views on it."""
    found = Reader.open(path)
    install(found, now=lambda: now, ledger=ledger, **given)
    return found


def plans(connection: Any, query: str, values: tuple[Any, ...] = ()) -> list[str]:
    """Return the lines of EXPLAIN QUERY PLAN."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]


def counting(connection: Any, name: str, arguments: int, function: Callable[..., Any]) -> list[int]:
    """Replace an SQL function by one that counts its calls; return the counter."""
    calls = [0]

    def counted(*values: Any) -> Any:
        calls[0] += 1
        return function(*values)

    connection.create_function(name, arguments, counted)
    return calls
