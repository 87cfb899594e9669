"""Values, defaults, precedence and sources of a configuration."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from indexer.config import load_config, read_config
from indexer.config.model import StoreConfig
from indexer.config.schema import CLASS, GUARDS, STORE
from indexer.config.show import document, shown
from indexer.errors import ConfigError
from indexer.rules import Guards, Rule

FILE = Path("/srv/media/indexer.toml")
WHOLE = """
[store]
path = "/srv/media/storage"
state = "state"
mode = "enforce"
backend = "native"
filesystems = ["uploads/", "frames"]
ignore = ["**/.git/**"]
access_resolution = "5m"
[guards]
max_fraction = 1
min_files = 0
max_files = 7
max_bytes = "1GB"
[[class]]
name = "uploads"
match = ["uploads/**", '*.\\[x]']
exclude = ["**/.keep"]
tier = "lukewarm"
ttl = "7d"
clock = ["mtime", "atime"]
arrival_floor = false
min_age = "0s"
skip_in_use = "writers"
unit = "file"
action = "trash"
trash_ttl = "2h"
max_fraction = 0.25
[[class]]
name = "kept"
match = ["kept/**"]
remove_empty_dirs = true
action = "delete"
"""


def test_every_value_arrives() -> None:
    """Durations in seconds, sizes in bytes, paths absolute."""
    config = read_config(WHOLE.encode(), path=FILE, environ={})
    assert config.store == StoreConfig(
        path=Path("/srv/media/storage"),
        state=Path("/srv/media/state"),
        mode="enforce",
        backend="native",
        filesystems=("uploads", "frames"),
        ignore=("**/.git/**",),
        access_resolution=300,
    )
    assert config.guards == Guards(max_fraction=1.0, min_files=0, max_files=7, max_bytes=10**9)
    assert config.classes == (
        Rule(
            name="uploads",
            match=("uploads/**", "*.\\[x]"),
            exclude=("**/.keep",),
            tier="lukewarm",
            ttl=604_800,
            clocks=("mtime", "atime"),
            arrival_floor=False,
            min_age=0,
            skip_in_use="writers",
            trash_ttl=7200,
            max_fraction=0.25,
        ),
        Rule(name="kept", match=("kept/**",), remove_empty_dirs=True, action="delete"),
    )


def test_the_defaults_of_the_schema_are_those_of_the_values() -> None:
    """What the reference says is what holds: a minimal class and an empty file equal the bare values."""
    config = read_config(b'[[class]]\nname = "x"\nmatch = ["x/**"]', path=FILE, environ={})
    assert config.classes == (Rule("x", ("x/**",)),)
    assert config.guards == Guards()
    assert config.store == StoreConfig(path=Path("/srv/media"))
    assert config.sources["store.mode"] == "default"


def test_every_key_has_a_value_behind_it() -> None:
    """A key that were read and dropped would be a lie."""
    for table, values in ((STORE, StoreConfig), (GUARDS, Guards), (CLASS, Rule)):
        fields = {field.name for field in dataclasses.fields(values)}
        for key in table.keys:
            assert {"clock": "clocks"}.get(key.name, key.name) in fields, f"{table.name}.{key.name}"


def test_a_flag_comes_before_the_environment_before_the_file_before_the_default() -> None:
    """Each value says who said it."""
    text = b'[store]\nmode = "enforce"\nbackend = "native"\naccess_resolution = "5m"\n[guards]\nmax_files = 1\n'
    environ = {
        "INDEXER_STORE_BACKEND": "fanotify",
        "INDEXER_STORE_ACCESS_RESOLUTION": "2m",
        "INDEXER_STORE_IGNORE": "['*.o']",
        "INDEXER_GUARDS_MAX_FRACTION": "0.1",
        "INDEXER_GUARDS_MAX_BYTES": "4096",
        "INDEXER_STORE": "/elsewhere",
        "INDEXER_CONFIG": "/elsewhere.toml",
    }
    config = read_config(text, path=FILE, environ=environ, flags={"store.backend": "auto"})
    assert (config.store.mode, config.store.backend, config.store.access_resolution) == ("enforce", "auto", 120)
    assert (config.store.ignore, config.guards.max_fraction, config.guards.max_bytes) == (("*.o",), 0.1, 4096)
    assert (config.guards.max_files, config.guards.min_files) == (1, 100)
    assert {key: config.sources[key] for key in ("store.backend", "store.access_resolution", "store.ignore")} == {
        "store.backend": "flag",
        "store.access_resolution": "INDEXER_STORE_ACCESS_RESOLUTION",
        "store.ignore": "INDEXER_STORE_IGNORE",
    }
    assert config.sources["store.mode"] == config.sources["guards.max_files"] == "/srv/media/indexer.toml"
    assert config.sources["guards.min_files"] == "default"


def test_a_lower_layer_is_checked_too() -> None:
    """What the file says wrongly is said, also where a flag hides it."""
    with pytest.raises(ConfigError):
        read_config(b'[store]\nbackend = "x"', path=FILE, environ={}, flags={"store.backend": "auto"})
    with pytest.raises(ConfigError):
        read_config(b"", path=FILE, environ={}, flags={"store.backend": "polls"})


def test_no_file_means_report_mode_and_no_class(tmp_path: Path) -> None:
    """An index, and nothing is ever due."""
    config = load_config(None, store_path=tmp_path, environ={})
    assert (config.path, config.classes, config.store.mode) == (None, (), "report")
    assert config.store.path == tmp_path


def test_the_fingerprint_is_that_of_the_policy() -> None:
    """Comments and watching do not change it; a ttl does."""

    def of(text: str) -> str:
        return read_config(text.encode(), path=FILE, environ={}).fingerprint

    plain = '[[class]]\nname = "x"\nmatch = ["x/**"]\nttl = "1d"\n'
    assert of(plain) == of("# hello\n[store]\nbackend = 'native'\n" + plain.replace("1d", "24h"))
    assert len({of(plain), of(plain.replace("1d", "2d")), of(plain + "[guards]\nmax_files = 1"), of("")}) == 4


def test_show_says_every_value_and_its_source() -> None:
    """One line a key; the document has the same in seconds and bytes."""
    config = read_config(WHOLE.encode(), path=FILE, environ={})
    lines = {line.key: (line.text, line.source) for line in shown(config)}
    assert lines["store.access_resolution"] == ("5m", "/srv/media/indexer.toml")
    assert lines["guards.max_bytes"] == ("953.7 MiB", "/srv/media/indexer.toml")
    assert lines["class.uploads.ttl"] == ("7d", "/srv/media/indexer.toml")
    assert lines["class.kept.ttl"] == ("–", "default")
    assert lines["class.kept.warn_before"] == ("–", "default")
    found = document(config)
    assert found["store"]["path"] == "/srv/media/storage"
    assert found["guards"]["max_bytes"] == 10**9
    assert [(entry["name"], entry["ttl"], entry["clock"]) for entry in found["class"]] == [
        ("uploads", 604_800, ["mtime", "atime"]),
        ("kept", None, ["mtime"]),
    ]
