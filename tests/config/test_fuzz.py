"""Whatever stands in a configuration: it is read, or refused with problems; nothing else ever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.config import Config, read_config
from indexer.config.schema import TABLES
from indexer.config.show import document, shown
from indexer.errors import ConfigError

WORDS = [
    "report",
    "enforce",
    "auto",
    "mtime",
    "filename",
    "child",
    "delete",
    "7d",
    "0s",
    "10GiB",
    "10G",
    "a/**",
    "**",
    "!x",
]
INNER = ["high", "low", "per", "regex", "x"]
leaves = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.dates(),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner),
    max_leaves=4,
)


def table(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables with known and unknown keys."""
    return st.dictionaries(st.sampled_from([*keys, "unknown"]), values, max_size=5)


documents = st.fixed_dictionaries(
    {},
    optional={
        **{
            known.name: st.one_of(
                st.lists(table(tuple(key.name for key in known.keys)), max_size=3)
                if known.many
                else table(tuple(key.name for key in known.keys)),
                values,
            )
            for known in TABLES
        },
        "unknown": values,
    },
)
environments = st.dictionaries(
    st.sampled_from(["INDEXER_STORE_MODE", "INDEXER_STORE_IGNORE", "INDEXER_GUARDS_MAX_FILES", "INDEXER_STORE_X"]),
    st.sampled_from([*WORDS, "['a']", "7", "true", "]", "\n[x]", ""]),
    max_size=1,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(documents, environments)
def test_a_configuration_is_read_or_refused(declared: dict[str, Any], environ: dict[str, str]) -> None:
    """Every problem has its file, key, message and remedy; every configuration that is read can be shown."""
    try:
        text = tomlkit.dumps(declared)
    except (TypeError, ValueError):
        return  # not TOML: a list that mixes tables and others
    read = refused = None
    try:
        read = read_config(text.encode(), path=Path("/x/indexer.toml"), environ=environ)
    except ConfigError as error:
        refused = error
    if refused is not None:
        assert refused.problems
        assert all(problem["file"] and problem["message"] and problem["remedy"] for problem in refused.problems)
    else:
        assert isinstance(read, Config)
        assert list(shown(read))
        assert document(read)
        assert read.fingerprint


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Also what is no TOML and no text."""
    try:
        read_config(content, path=Path("/x/indexer.toml"), environ={})
    except ConfigError as refused:
        assert refused.problems  # noqa: PT017 (most bytes are refused, some are not)
