"""Why one path has its class and its date, what stands in its way, and what became of it if it was removed."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from indexer.enforce.attribute import attribute_blocker
from indexer.enforce.protection import Protection
from indexer.index.queries import Reader
from indexer.index.questions import usage_below
from indexer.index.unit_queries import unit_at
from indexer.policy.classes import Classifier
from indexer.policy.explain import explain as explain_file
from indexer.policy.explain import explain_unit, rule_json
from indexer.policy.notices import notice_blockers
from indexer.policy.reasons import Blocker, Guard
from indexer.policy.units import youngest_of
from indexer.reports.reading import open_ledger
from indexer.units import text_of

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.rows import Protector
    from indexer.records import IndexedFile
    from indexer.store import Store

_KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}


def explain(store: Store, path: bytes, now: int) -> dict[str, Any]:
    """Explain `path` (relative to the root) at `now` (Unix seconds); the keys of `explain --json`.

    `kind` is file, symlink, other or directory, None for what is not in the index; its class is told all the same.
    `holds` are the holds and leases in force that keep it, or something below it: `kind` (file, tree, glob, lease),
    `path`, `by`, `reason`, `until`. `removed` is the last action that took a file at this path away, also when it came
    back or was made anew.
    Raises NotScannedError, IndexDatabaseError, LedgerError.
    """
    classifier = Classifier(store.config.classes, store.config.store.ignore)
    ledger = open_ledger(store)
    try:
        held = Protection(()) if ledger is None else ledger.protection(now)
        protection = held.blocker(path)
        with Reader.open(store.index_path) as reader:
            file = reader.file(path)
            directory = reader.directory_id(path) if file is None else None
            if file is not None:
                found = _file(store, classifier, file, now, protection, ledger)
                found |= _unit(store, reader, classifier, file.directory, now, held, ledger)
            elif directory is not None:
                found = _directory(reader, classifier, path, directory, protection)
                found |= _unit(store, reader, classifier, path, now, held, ledger)
            else:
                found = _absent(classifier, path, protection)
        removed = None if ledger is None else _removed(ledger, path)
        holds = [] if ledger is None else [_protector(one) for one in ledger.protecting(path, now)]
    finally:
        if ledger is not None:
            ledger.close()
    return {"path": text_of(path), **found, "holds": holds, "removed": removed}


def _protector(one: Protector) -> dict[str, Any]:
    return {**one._asdict(), "path": text_of(one.path)}


def _file(
    store: Store,
    classifier: Classifier,
    file: IndexedFile,
    now: int,
    protection: str | None,
    ledger: Ledger | None,
) -> dict[str, Any]:
    index, aged = classifier.of(file.path)
    rule = None if index is None else classifier.rules[index]
    if protection is None and store.config.holds.xattr:
        protection = attribute_blocker(store.root_bytes, now)(file)
    notice = None if ledger is None or rule is None or rule.warn_before is None else ledger.notice(file.path)
    found = explain_file(file, rule, aged=aged, now=now, protection=protection, notice=notice).as_json()
    if store.config.store.mode == "report":
        found["blockers"].append(Guard.MODE)
    return {
        "kind": _KINDS.get(stat.S_IFMT(file.mode), "other"),
        **found,
        "bytes": file.size,
        "allocated": file.allocated,
        "links": file.links,
        "uid": file.uid,
        "times": {
            "mtime": file.mtime,
            "atime": file.atime,
            "used_at": file.used_at,
            "ctime": file.ctime,
            "btime": file.btime,
            "first_seen": file.first_seen,
        },
    }


def _unit(
    store: Store,
    reader: Reader,
    classifier: Classifier,
    directory: bytes,
    now: int,
    held: Protection,
    ledger: Ledger | None,
) -> dict[str, Any]:
    """Return what replaces the date and the blockers of something that goes with all of a child; nothing: it does not.

    `unit` names the child, how many files it has, and the one that it is as old as.
    """
    for rule in classifier.rules:
        unit = unit_at(reader, rule, directory)
        if unit is None:
            continue
        notices = notice_blockers([rule], ledger.notice if ledger is not None else lambda _path: None, now)

        def blocker(file: IndexedFile, notices: Any = notices) -> str | None:
            return held.blocker(file.path) or (None if notices is None else notices(file))

        said = explain_unit(unit, rule, now, blocker, held.inside(unit.path))
        told = said.as_json()
        told["blockers"] += [Guard.MODE] if store.config.store.mode == "report" else []
        told["unit"] = {
            "path": text_of(unit.path),
            "files": len(unit.files),
            "allocated": unit.allocated,
            "youngest": text_of(youngest_of(unit, rule).path),
        }
        return told
    return {}


def _directory(
    reader: Reader, classifier: Classifier, path: bytes, directory: int, protection: str | None
) -> dict[str, Any]:
    """A directory has no date of its own: its class is that of the names in it, where they all have one."""
    rules = classifier.at(path)
    rule = classifier.rules[rules.index] if rules.constant and rules.index is not None else None
    usage = usage_below(reader, directory)
    return {
        "kind": "directory",
        **_without_times(None if rule is None else rule_json(rule), None if rule is None else rule.tier),
        "blockers": [protection] if protection is not None else [],
        "files": sum(part[0] for part in usage.values()),
        "bytes": sum(part[1] for part in usage.values()),
        "allocated": sum(part[2] for part in usage.values()),
    }


def _absent(classifier: Classifier, path: bytes, protection: str | None) -> dict[str, Any]:
    """A path that the index does not know: what a file there would be."""
    directory, _, name = path.rpartition(b"/")
    rules = classifier.at(directory)
    index, aged = rules.of(name)
    blockers: list[str] = [protection] if protection is not None else []
    blockers.append(Blocker.IGNORED if rules.ignored(name, False) else Blocker.NOT_INDEXED)
    if index is None:
        return {"kind": None, **_without_times(None, None), "blockers": [*blockers, Blocker.UNCLASSIFIED]}
    rule = classifier.rules[index]
    if not aged:
        blockers.append(Blocker.EXCLUDED)
    return {"kind": None, **_without_times(rule_json(rule), rule.tier), "blockers": blockers}


def _without_times(rule: dict[str, Any] | None, tier: str | None) -> dict[str, Any]:
    return {
        "class": None if rule is None else rule["class"],
        "tier": tier,
        "clocks": {},
        "clock_at": None,
        "expires_at": None,
        "goes_at": None,
        "notice": None,
        "rule": rule,
    }


def _removed(ledger: Ledger, path: bytes) -> dict[str, Any] | None:
    action = ledger.removed(path)
    if action is None:
        return None
    together: dict[str, Any] = {}
    if action.child is not None:
        files = [one for one in ledger.child(action.run, action.child) if one.outcome not in {"kept", "failed", None}]
        if action.action == "rmdir" and files:
            action = files[-1]._replace(
                size=sum(one.size for one in files),
                allocated=sum(one.allocated for one in files),
                restored_to=None,
            )
        together = {"child": action.child, "files": len(files)}
    run = ledger.run(action.run)
    due = action.clock_at is not None and action.ttl is not None
    return {
        "run": action.run,
        "at": action.at,
        "action": action.action,
        "outcome": action.outcome,
        "reason": action.reason,
        "rule": {
            "class": action.class_name,
            "ttl": action.ttl,
            "clock_at": action.clock_at,
            "expires_at": (action.clock_at or 0) + (action.ttl or 0) if due else None,
        },
        "policy": None if run is None else run.policy,
        "kind": None if run is None else run.kind,
        "trigger": None if run is None else run.trigger,
        "user": None if run is None else run.user,
        "bytes": action.size,
        "allocated": action.allocated,
        "restorable_until": action.restorable_until if action.in_trash else None,
        "restored_to": None if action.restored_to is None else text_of(action.restored_to),
        **together,
    }
