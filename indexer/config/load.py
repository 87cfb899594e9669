"""TOML, environment and flags to a `Config`: every layer is checked, the highest one that says something counts."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from indexer.config.contradictions import Labelled, contradictions, warnings
from indexer.config.kinds import Table, type_name
from indexer.config.model import (
    Config,
    HoldsConfig,
    HttpConfig,
    LedgerConfig,
    NotifyConfig,
    PermissionsConfig,
    PublishConfig,
    ScheduleConfig,
    ServiceConfig,
    StoreConfig,
)
from indexer.config.problems import Problems
from indexer.config.reader import Reader, belongs
from indexer.config.schema import CLASS, GUARDS, STORE, TABLES
from indexer.config.trust import read_trusted
from indexer.rules import FilenameTime, Guards, MinFree, Quota, Rule, Shares, Watermark
from indexer.units import show_text

__all__ = ["Config", "StoreConfig", "default_config", "load_config", "read_config"]


def load_config(
    path: Path | None,
    *,
    store_path: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration file at `path` (None: defaults only), if the caller may trust it.

    `store_path` is the store's root where something else than the file decided it; `flags` are values of the command
    line by key (`{"store.backend": "native"}`); `environ` is by default the process's environment. Raises TrustError,
    ConfigError with all problems, or OSError when the file cannot be read.
    """
    content = b"" if path is None else read_trusted(path)[0]
    return read_config(content, path=path, store_path=store_path, flags=flags, environ=environ)


def default_config(store_path: Path) -> Config:
    """Return what holds without any file: report mode and no class, so an index and nothing else."""
    return read_config(b"", path=None, store_path=store_path, environ={})


def read_config(
    content: bytes,
    *,
    path: Path | None,
    store_path: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """`load_config` for a file that has been read already; `path` says what relative paths are relative to."""
    problems = Problems(show_text(os.fspath(path)) if path else "configuration")
    document = _document(content, problems)
    reader = Reader(problems, flags or {}, os.environ if environ is None else environ)
    tables = {table.name: raw for table, raw in _tables(document, problems)}
    store = reader.values(STORE, tables.get("store", {}))
    guards = reader.values(GUARDS, tables.get("guards", {}))
    classes = [reader.class_values(number, raw) for number, raw in enumerate(tables.get("class", []), start=1)]
    others = {
        table.name: Labelled(table.name, reader.values(table, tables[table.name]), frozenset(tables[table.name]))
        for table in TABLES
        if table.name in tables and table not in (STORE, GUARDS, CLASS)
    }
    contradictions(classes, others, problems)
    problems.raise_if_any()
    if store_path is not None:
        store["path"] = store_path
        reader.sources["store.path"] = "flag"
    return Config(
        path=path,
        store=_store_config(store, path),
        guards=Guards(**{name: value for name, value in guards.items() if value is not None}),
        classes=tuple(_rule(entry.values) for entry in classes),
        schedule=ScheduleConfig(**others["schedule"].values) if "schedule" in others else ScheduleConfig(),
        publish=_publish_config(others["publish"].values, path) if "publish" in others else None,
        permissions=PermissionsConfig(**others["permissions"].values if "permissions" in others else {}),
        watermark=_watermark(others["watermark"].values) if "watermark" in others else None,
        http=_http_config(others["http"].values, path) if "http" in others else None,
        service=_service_config(others["service"].values, path) if "service" in others else ServiceConfig(),
        notify=NotifyConfig(**others["notify"].values) if "notify" in others else None,
        ledger=LedgerConfig(**others["ledger"].values) if "ledger" in others else LedgerConfig(),
        holds=HoldsConfig(**others["holds"].values) if "holds" in others else HoldsConfig(),
        sources=reader.sources,
        warnings=tuple(warnings(store, classes, others)),
    )


def _document(content: bytes, problems: Problems) -> Mapping[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problems.add("", f"is not UTF-8 at byte {error.start}", "save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.add("", f"is not TOML: {error}", "https://toml.io shows the syntax; texts need quotes")
    except RecursionError:
        problems.add("", "is nested too deeply", "a configuration has at most three levels")
    problems.raise_if_any()
    raise AssertionError("unreachable")


def _tables(document: Mapping[str, Any], problems: Problems) -> Iterator[tuple[Table, Any]]:
    """Yield the known tables that are there and have the right shape."""
    known = {table.name: table for table in TABLES}
    for name, raw in document.items():
        table = known.get(name)
        if table is None:
            problems.add(
                show_text(name), "unknown table" if isinstance(raw, dict) else "unknown key", belongs(name, known)
            )
        elif table.many:
            if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
                problems.add(name, f"is {type_name(raw)}", f"write [[{name}]], with two brackets, before each one")
            else:
                yield table, raw
        elif not isinstance(raw, dict):
            problems.add(name, f"is {type_name(raw)}, not a table", f"write [{name}] on a line of its own")
        else:
            yield table, raw


def _store_config(values: Mapping[str, Any], path: Path | None) -> StoreConfig:
    base = Path(os.path.abspath(path)).parent if path else Path.cwd()
    return StoreConfig(
        path=base / values["path"] if values["path"] else base,
        state=base / values["state"] if values["state"] else None,
        mode=values["mode"],
        backend=values["backend"],
        filesystems=values["filesystems"],
        ignore=values["ignore"],
        ignore_readers=values["ignore_readers"] or (),
        access_resolution=values["access_resolution"],
    )


def _publish_config(values: Mapping[str, Any], path: Path | None) -> PublishConfig:
    base = Path(os.path.abspath(path)).parent if path else Path.cwd()
    return PublishConfig(
        Path(os.path.normpath(base / values["path"])), values["every"], values["mode"], values["group"]
    )


def _watermark(values: Mapping[str, Any]) -> Watermark:
    return Watermark(
        order=values["order"],
        space=Shares(**values["space"]) if values["space"] else None,
        min_free=MinFree(**values["min_free"]) if values["min_free"] else None,
        inodes=Shares(**values["inodes"]) if values["inodes"] else None,
        capacity=values["capacity"],
    )


def _http_config(values: Mapping[str, Any], path: Path | None) -> HttpConfig:
    base = Path(os.path.abspath(path)).parent if path else Path.cwd()
    token = base / values["token_file"] if values["token_file"] else None
    return HttpConfig(values["listen"], token, values["allowed_hosts"] or ())


def _service_config(values: Mapping[str, Any], path: Path | None) -> ServiceConfig:
    base = Path(os.path.abspath(path)).parent if path else Path.cwd()
    socket = Path(os.path.normpath(base / values["socket"])) if values["socket"] else None
    return ServiceConfig(socket, values["group"], values["mode"], values["allow"])


def _rule(values: Mapping[str, Any]) -> Rule:
    return Rule(
        name=values["name"],
        match=values["match"],
        exclude=values["exclude"],
        tier=values["tier"],
        ttl=values["ttl"],
        clocks=values["clock"],
        arrival_floor=values["arrival_floor"],
        min_age=values["min_age"],
        skip_in_use=values["skip_in_use"],
        unit=values["unit"],
        action=values["action"],
        trash_ttl=values["trash_ttl"],
        remove_empty_dirs=values["remove_empty_dirs"],
        whole_directories=values["whole_directories"],
        max_fraction=values["max_fraction"],
        quota=Quota(**values["quota"]) if values["quota"] else None,
        evict=values["evict"],
        warn_before=values["warn_before"],
        filename_time=FilenameTime(**values["filename_time"]) if values["filename_time"] else None,
    )
