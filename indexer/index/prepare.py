"""What the tables need before the first batch: the root, the filesystems as they are mounted now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID
from indexer.index import derived
from indexer.index.directories import Filesystem
from indexer.index.rows import key_of, name_of, signed
from indexer.syscalls.handles import handle_of
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from indexer.index.classes import Policy
    from indexer.index.meta import Meta


def prepare(connection: Any, filesystems: list[Filesystem], meta: Meta, policy: Policy) -> list[int]:
    """Bring the rows about the store itself up to date, in the caller's transaction.

    Returns the directories that an earlier life of the writer left in limbo.
    """
    _number(connection, filesystems)
    root = filesystems[0]
    handle = handle_of(root.fd)
    row = connection.execute("SELECT handle FROM directory WHERE id = ?", (ROOT_ID,)).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO directory (id, parent_id, name, handle, inode) VALUES (?, NULL, '', ?, ?)",
            (ROOT_ID, handle, signed(stat_fd(root.fd).inode)),
        )
        meta.set("policy", policy.fingerprint)
        meta.set("ignore", policy.ignoring)
    elif row[0] != handle:
        # The same store (its marker was checked) on another filesystem: copied or restored. All handles are void.
        connection.execute("UPDATE directory SET handle = NULL, listed_ns = 0 WHERE id <> ?", (ROOT_ID,))
        connection.execute("UPDATE directory SET handle = ? WHERE id = ?", (handle, ROOT_ID))
    if meta.get("ignore") != policy.ignoring:
        # Names that were left out may belong here now, others no more: a quick pass lists what has no proved times.
        connection.execute("UPDATE directory SET ctime_ns = 0")
        meta.set("ignore", policy.ignoring)
    if meta.get("complete") is None and connection.execute("SELECT 1 FROM file LIMIT 1").fetchone() is None:
        derived.drop(connection)
    return [
        directory_id
        for (directory_id,) in connection.execute(
            "SELECT id FROM directory WHERE parent_id IS NULL AND id <> ?", (ROOT_ID,)
        )
    ]


def _number(connection: Any, filesystems: list[Filesystem]) -> None:
    """Give each filesystem the id by which the rows know its path, and add those that are named no more.

    Rows and events find each other by (handle, id), so an id must not depend on the order of a list.
    """
    known = {name_of(path): number for number, path in connection.execute("SELECT id, path FROM filesystem")}
    last = max([1, *known.values()])
    for filesystem in filesystems:
        number = known.pop(filesystem.path, 1 if not filesystem.path else None)
        if number is None:
            last = number = last + 1
        filesystem.id = number
        if filesystem.absent:
            connection.execute(
                "INSERT INTO filesystem (id, path) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (number, key_of(filesystem.path)),
            )
            continue
        connection.execute(
            "INSERT INTO filesystem (id, path, dev, fsid) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " dev = excluded.dev, fsid = excluded.fsid",
            (number, key_of(filesystem.path), os.makedev(*filesystem.dev), f"{filesystem.fsid:016x}"),
        )
    for path, number in known.items():
        if connection.execute("SELECT 1 FROM directory WHERE filesystem_id = ? LIMIT 1", (number,)).fetchone():
            former = "the configuration names it no more"
            filesystems.append(Filesystem(number, -1, (0, 0), 0, path, absent=former, named=False))
        else:
            connection.execute("DELETE FROM filesystem WHERE id = ?", (number,))
