"""A plan in a file: written now, executed later, when everything in it that has changed meanwhile stays.

One JSON document a line, the first about the plan, each other about one file. The file permits, it does not order: what
goes is what a run would take now and what the file names, so that nobody removes by it what the policy keeps.
"""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_left
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.errors import UsageError
from indexer.policy.decide import too_young
from indexer.policy.reasons import Blocker, Reason
from indexer.policy.shelf import BLOCK, pack, unpack
from indexer.records import Identity
from indexer.reports.atomic import replacing
from indexer.units import show_name, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from indexer.enforce.result import RunResult
    from indexer.index.queries import Reader
    from indexer.policy.decide import Remove
    from indexer.policy.plan import Plan
    from indexer.records import IndexedFile
    from indexer.rules import Rule
    from indexer.store import Store

VERSION = 1


class Entry(NamedTuple):
    """One file of a written plan, as it was then."""

    identity: Identity
    size: int
    mtime: int
    reason: str


class Written:
    """A plan that has been read from a file: a million files in some 60 MB (packed), looked up by 8 bytes each.

    The 8 bytes are a hash with a key of this process, so that nobody can make a file that is taken for another.
    """

    def __init__(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        self._secret = os.urandom(16)
        self._blocks: list[bytes] = []
        self.watermarks = 0
        """Files it names that go under a watermark."""
        keys = array("Q")
        rows: list[tuple[Any, ...]] = []
        for path, entry in entries:
            keys.append(self._key(path, entry))
            rows.append((path, *entry.identity, *entry[1:]))
            self.watermarks += entry.reason == Reason.WATERMARK
            if len(rows) >= BLOCK:
                self._blocks.append(pack(rows))
                rows = []
        self._blocks.append(pack(rows))
        self._keys = array("Q", sorted(keys))

    def __len__(self) -> int:
        return len(self._keys)

    def _key(self, path: bytes, entry: Entry | None = None) -> int:
        text = path if entry is None else b"%b\0%d %d %d %d" % (path, *entry.identity, entry.size, entry.mtime)
        return int.from_bytes(blake2b(text, digest_size=8, key=self._secret).digest(), "big")

    def _entries(self) -> Iterator[tuple[bytes, Entry]]:
        for block in self._blocks:
            for path, inode, birth, *rest in unpack(block):
                yield path, Entry(Identity(inode, birth), *rest)

    def chosen(self, file: IndexedFile) -> bool:
        """Tell whether the plan names this file, and it is still what it was."""
        return _has(self._keys, self._key(file.path, Entry(file.identity, file.size, file.mtime, "")))

    def _paths(self, plan: Plan) -> array[int]:
        return array("Q", sorted(self._key(action.file.path) for action in plan.actions))

    def skipped(
        self,
        plan: Plan,
        reader: Reader,
        rules: Mapping[str, Rule],
        blockers: Callable[[IndexedFile], str | None],
    ) -> Plan:
        """Return the plan with its `kept` telling of each file of the written one that will not go."""
        going = self._paths(plan)
        kept: dict[str, int] = {}
        for path, entry in self._entries():
            if (entry.reason == Reason.WATERMARK and not plan.pressure) or _has(going, self._key(path)):
                continue
            why = _why(entry, reader.file(path), rules, blockers, plan)
            kept[why] = kept.get(why, 0) + 1
        return replace(plan, kept=kept)

    def unasked(self, plan: Plan, result: RunResult) -> RunResult:
        """Return the result with the files counted that no watermark asked for any more."""
        if not self.watermarks or result.refused is not None:
            return result
        going = self._paths(plan)
        expected = sum(
            entry.reason == Reason.WATERMARK and not _has(going, self._key(path)) for path, entry in self._entries()
        )
        done = sum(part.files_removed for part in result.classes.values()) + sum(result.kept.values())
        left = len(self) - done - len(result.errors)
        if not expected or left <= 0:
            return result
        kept = dict(result.kept)
        kept[Blocker.NOT_PLANNED] = kept.get(Blocker.NOT_PLANNED, 0) + min(left, expected)
        return replace(result, kept=kept)


def _has(keys: array[int], key: int) -> bool:
    place = bisect_left(keys, key)
    return place < len(keys) and keys[place] == key


def same(entry: Entry, file: IndexedFile) -> bool:
    """Tell whether a file is the one that was planned, unchanged."""
    return (entry.identity, entry.size, entry.mtime) == (file.identity, file.size, file.mtime)


def _why(
    entry: Entry,
    file: IndexedFile | None,
    rules: Mapping[str, Rule],
    blockers: Callable[[IndexedFile], str | None],
    plan: Plan,
) -> str:
    if file is None:
        return "gone"
    if not same(entry, file):
        return "changed"
    rule = None if file.class_name is None else rules.get(file.class_name)
    if rule is None:
        return Blocker.UNCLASSIFIED
    if file.clock is None:
        return Blocker.EXCLUDED
    if (word := blockers(file) or too_young(rule, file, plan.now)) is not None:
        return word
    if plan.truncated:
        return Blocker.POSTPONED
    return Blocker.NOT_DUE if entry.reason == Reason.EXPIRED else Blocker.NOT_PLANNED


def write_plan(plan: Plan, store: Store, target: Path) -> int:
    """Write a plan whole or not at all; return its files. Raises UsageError, FilesystemError."""
    head = {
        "indexer_plan": VERSION,
        "store": store.id,
        "policy": store.config.fingerprint,
        "at": plan.now,
        "files": len(plan.actions),
        "refused": None if plan.refused is None else str(plan.refused.guard),
    }
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as out:
        for document in chain((head,), map(_line, plan.actions)):
            out.write(json.dumps(document, ensure_ascii=True) + "\n")
    return len(plan.actions)


def _line(action: Remove) -> dict[str, Any]:
    file = action.file
    exact = {} if text_of(file.path).encode("utf-8") == file.path else {"path_bytes": file.path.hex()}
    return {
        **action.as_json(),
        **exact,
        "inode": file.identity.inode,
        "birth_ns": file.identity.birth_ns,
        "mtime": file.mtime,
    }


def read_plan(store: Store, source: Path) -> Written:
    """Read a plan that was written for this store. Raises UsageError for anything else."""
    try:
        with source.open(encoding="utf-8") as lines:
            return Written(_entries(store, lines))
    except OSError as error:
        raise UsageError(
            f"{show_name(bytes(source))}: {error.strerror}", remedy="write one: plan --out FILE"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{show_name(bytes(source))} is not a written plan", remedy="write one: plan --out FILE"
        ) from error


def _entries(store: Store, lines: Iterator[str]) -> Iterator[tuple[bytes, Entry]]:
    head = json.loads(next(lines, ""))
    if head["indexer_plan"] != VERSION:
        raise UsageError("the plan was written by another version", remedy="write it again: plan --out FILE")
    if head["store"] != store.id:
        raise UsageError("the plan was written for another store", remedy="name the store it was written for")
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - used below
        one = json.loads(line)
        path = bytes.fromhex(one["path_bytes"]) if "path_bytes" in one else one["path"].encode("utf-8")
        identity = Identity(int(one["inode"]), int(one["birth_ns"]))
        yield path, Entry(identity, int(one["bytes"]), int(one["mtime"]), str(one["reason"]))
    if count != head["files"]:
        raise UsageError(
            f"the plan names {count:,} files of {head['files']:,}", remedy="write it again: plan --out FILE"
        )
