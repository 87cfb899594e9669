"""Reads one table by the schema: each layer is checked, and each value remembers where it came from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from indexer.config.contradictions import Labelled
from indexer.config.kinds import Key, Table, did_you_mean
from indexer.config.schema import CLASS, GUARDS, STORE, TABLES
from indexer.errors import ConfigError, UsageError
from indexer.units import show_text

if TYPE_CHECKING:
    from indexer.config.problems import Problems

OVERRIDABLE = (STORE, GUARDS)
"""Tables whose keys an `INDEXER_TABLE_KEY` variable may set; classes are only ever written in a file."""
_NOT_BY_ENVIRONMENT = "store.path"
"""`INDEXER_STORE` is its variable, and `-C` its flag: they say which store before any file is read."""


class Reader:
    """Reads tables by the schema and remembers where each value came from."""

    def __init__(self, problems: Problems, flags: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self.problems = problems
        self.flags = flags
        self.environ = environ
        self.sources: dict[str, str] = {}

    def values(self, table: Table, raw: Mapping[str, object], where: str = "", source: str = "") -> dict[str, Any]:
        """Return the value of every key of `table`: from a flag, the environment, the file, or the default."""
        where, source = where or table.name, source or table.name
        self._refuse_unknown(table, raw, where)
        read: dict[str, Any] = {}
        for key in table.keys:
            read[key.name], self.sources[f"{source}.{key.name}"] = self._value(table, key, raw, where)
        return read

    def class_values(self, number: int, raw: Mapping[str, object]) -> Labelled:
        """Return one `[[class]]` with its label in messages, `class[2] "frames"`."""
        name = raw.get("name")
        label = f'class[{number}] "{show_text(name)}"' if isinstance(name, str) else f"class[{number}]"
        return Labelled(label, self.values(CLASS, raw, label, f"class.{name}"), frozenset(raw))

    def _value(self, table: Table, key: Key, raw: Mapping[str, object], where: str) -> tuple[Any, str]:
        chosen, source = None, "default"
        for layer, given in self._layers(table, key, raw):
            value = self._parse(key, given, f"{where}.{key.name}", layer)
            if value is not None:
                chosen, source = value, layer or self.problems.file
        if source == "default" and key.default is not None:
            chosen = key.kind.parse(key.default)
        elif key.required and key.name not in raw:
            self.problems.add(f"{where}.{key.name}", "is missing", f"write {key.name} = … ({key.kind.grammar})")
        return chosen, source

    def _layers(self, table: Table, key: Key, raw: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        """Yield (source, value as written), the lowest first; "" stands for the file."""
        if key.name in raw:
            yield "", raw[key.name]
        name = f"{table.name}.{key.name}"
        if table not in OVERRIDABLE or name == _NOT_BY_ENVIRONMENT:
            return
        variable = variable_of(table, key)
        if variable in self.environ:
            yield variable, _from_environment(self.environ[variable], key)
        if name in self.flags:
            yield "flag", self.flags[name]

    def _parse(self, key: Key, given: object, where: str, layer: str) -> Any:
        try:
            return key.kind.parse(given)
        except (UsageError, ConfigError) as error:
            self.problems.add_error(where, error, file=layer)
            return None

    def _refuse_unknown(self, table: Table, raw: Mapping[str, object], where: str) -> None:
        known = [key.name for key in table.keys]
        for name in raw:
            if name not in known:
                self.problems.add(f"{where}.{show_text(name)}", "unknown key", belongs(name, known))
        if table not in OVERRIDABLE:
            return
        prefix = f"INDEXER_{table.name}_".upper()
        variables = [variable_of(table, key) for key in table.keys if f"{table.name}.{key.name}" != _NOT_BY_ENVIRONMENT]
        for variable in self.environ:
            if variable.startswith(prefix) and variable not in variables:
                remedy = did_you_mean(variable, variables)
                self.problems.add(variable, "no key has this variable", remedy, file="environment")


def variable_of(table: Table, key: Key) -> str:
    """Return the environment variable that sets a key."""
    return f"INDEXER_{table.name}_{key.name}".upper()


def _from_environment(text: str, key: Key) -> object:
    """Return what a variable says: bare text where the kind is a text, else one TOML value."""
    if key.kind.plain:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text  # of the wrong type, so the kind says what it wants


def belongs(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Return the remedy for an unknown key: the table that has it, or what it was meant to be."""
    homes = [table for table in TABLES if table.key(name)]
    if homes and name not in known:
        return "it belongs to " + " or ".join(
            f"[[{table.name}]]" if table.many else f"[{table.name}]" for table in homes
        )
    return did_you_mean(name, list(known))
