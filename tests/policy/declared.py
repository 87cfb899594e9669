"""Files declared for policy tests, classified and clocked as the index does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from indexer.policy.classes import Classifier
from indexer.policy.clocks import clock_of
from indexer.records import Identity, IndexedFile, Unit
from indexer.rules import Rule


def indexed(path: bytes | str, classifier: Classifier, **given: Any) -> IndexedFile:
    """Make the index's row of a file; times default to `mtime`, `first_seen` to ctime, `size` to 1000 bytes."""
    path = path.encode() if isinstance(path, str) else path
    directory, _, name = path.rpartition(b"/")
    mtime = given.get("mtime", 0)
    atime = given.get("atime", mtime)
    ctime = given.get("ctime", mtime)
    used_at = max(atime, given.get("used_at") or atime)
    first_seen = given.get("first_seen", ctime)
    size = given.get("size", 1000)
    index, aged = classifier.of(path)
    rule = None if index is None else classifier.rules[index]
    clock = None
    if rule is not None and aged:
        clock = clock_of(
            rule,
            mtime=mtime,
            atime=atime,
            ctime=ctime,
            btime=given.get("btime"),
            first_seen=first_seen,
            used_at=used_at,
            name=name,
        )
    return IndexedFile(
        directory_id=1,
        directory=directory,
        name=name,
        mode=0o100644,
        uid=1000,
        gid=1000,
        size=size,
        allocated=given.get("allocated", -(-size // 4096) * 4096),
        links=1,
        identity=Identity(1, 0),
        mtime=mtime,
        atime=atime,
        used_at=used_at,
        ctime=ctime,
        btime=given.get("btime"),
        first_seen=first_seen,
        class_name=None if rule is None else rule.name,
        clock=clock,
        charged=True,
    )


def units(files: Iterable[IndexedFile], rule: Rule) -> list[Unit]:
    """Return what goes as one of a class: its children, and the files beside those."""
    children: dict[bytes, list[IndexedFile]] = {}
    found: list[Unit] = []
    for file in files:
        if file.class_name != rule.name:
            continue
        child = rule.child_of(file.directory)
        if child is not None:
            children.setdefault(child, []).append(file)
        elif file.clock is not None:
            found.append(Unit(file.path, (file,), child=False))
    found += [Unit(child, tuple(there)) for child, there in children.items() if any(f.clock is not None for f in there)]
    return found


def candidates(files: Iterable[IndexedFile], rules: tuple[Rule, ...]) -> Iterator[tuple[Rule, IndexedFile | Unit]]:
    """Pair every classified file, or unit, with its rule: more than an index would name, never less."""
    by_name = {rule.name: rule for rule in rules}
    files = list(files)
    for file in files:
        if file.class_name is not None and by_name[file.class_name].unit == "file":
            yield by_name[file.class_name], file
    for rule in rules:
        if rule.unit == "child":
            for unit in units(files, rule):
                yield rule, unit
