"""Promise 4 as a check: after a start, every file is in its place, in the trash with its record, or recorded gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.enforce.arena import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.enforce.arena import Arena


def kept(arena: Arena, files: Mapping[bytes, bytes]) -> None:
    """Start `arena` again after a crash and assert the promise for `files` (path: content)."""
    found = arena.recover()
    assert found.errors == ()
    assert arena.ledger.unfinished() == []
    contents = arena.contents()
    trash = sorted(digest for path, digest in contents.items() if path.startswith(b".indexer/trash/"))
    recorded = {action.trash_name: action for action in arena.ledger.trash()}
    folder = arena.root / ".indexer/trash"
    assert sorted(os.listdir(folder) if folder.exists() else []) == sorted(map(str, recorded))
    for path, content in files.items():
        if path in contents:
            assert contents[path] == digest(content)
            continue
        action = arena.ledger.removed(path)
        assert action is not None, path
        assert action.outcome in {"trashed", "deleted", "unknown", "purged"}
        if action.outcome == "trashed":
            assert digest(content) in trash
        elif action.outcome == "unknown":
            assert action.action == "delete"
