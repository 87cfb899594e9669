"""The effective configuration for people and programs: every value, and who said so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.config.schema import (
    CLASS,
    GUARDS,
    HOLDS,
    HTTP,
    LEDGER,
    NOTIFY,
    PERMISSIONS,
    PUBLISH,
    SCHEDULE,
    SERVICE,
    STORE,
    WATERMARK,
)
from indexer.units import show_text

if TYPE_CHECKING:
    from indexer.config.kinds import Table
    from indexer.config.model import Config
    from indexer.rules import Rule

_RENAMED = {"clock": "clocks"}
"""Keys that their value calls otherwise: one clock in the file is a list of them all the same."""


class Shown(NamedTuple):
    """One effective value."""

    key: str
    """`store.mode`, `class.frames.ttl`."""
    text: str
    source: str


def shown(config: Config) -> Iterator[Shown]:
    """Yield every key of the configuration, in the order of the reference."""
    for table, name, values in _parts(config):
        for key in table.keys:
            where = f"{name}.{key.name}"
            value = getattr(values, _RENAMED.get(key.name, key.name))
            text = "–" if value is None else key.kind.show(value)
            yield Shown(where, show_text(text), config.sources.get(where, "default"))


def document(config: Config) -> dict[str, Any]:
    """Return the same as one JSON document: durations are seconds, sizes bytes."""
    found: dict[str, Any] = {"class": []}
    for table, _, values in _parts(config):
        entry = {key.name: _plain(getattr(values, _RENAMED.get(key.name, key.name))) for key in table.keys}
        if table.many:
            found[table.name].append(entry)
        else:
            found[table.name] = entry
    return found


def class_document(rule: Rule) -> dict[str, Any]:
    """Return what a list of classes says about one: enough to recognise it."""
    return {"match": list(rule.match), "tier": rule.tier, "ttl": rule.ttl, "clock": list(rule.clocks)}


def _parts(config: Config) -> Iterator[tuple[Table, str, object]]:
    yield STORE, "store", config.store
    yield GUARDS, "guards", config.guards
    for rule in config.classes:
        yield CLASS, f"class.{rule.name}", rule
    yield PERMISSIONS, "permissions", config.permissions
    if config.watermark is not None:
        yield WATERMARK, "watermark", config.watermark
    yield SCHEDULE, "schedule", config.schedule
    if config.http is not None:
        yield HTTP, "http", config.http
    if config.publish is not None:
        yield PUBLISH, "publish", config.publish
    if config.service.shared:
        yield SERVICE, "service", config.service
    yield HOLDS, "holds", config.holds
    yield LEDGER, "ledger", config.ledger
    if config.notify is not None:
        yield NOTIFY, "notify", config.notify


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return show_text(os.fspath(value))
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value
