"""Ready-made policies, and how a policy is written as a commented `indexer.toml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Draft:
    """One `[[class]]` to be written: keys in the order in which they appear, and what to say about it."""

    name: str
    match: tuple[str, ...]
    keys: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A policy: its classes, and whole tables beside them."""

    purpose: str
    classes: tuple[Draft, ...]
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def _directory(name: str, **keys: object) -> Draft:
    return Draft(name, (f"{name}/**",), keys)


MEDIA = Profile(
    "a media pipeline: uploads, extracted frames, contact sheets, outputs, temporary files",
    (
        _directory("uploads", tier="hot", ttl="7d", quota="10GiB"),
        _directory("frames", tier="warm", ttl="30d", remove_empty_dirs=True, quota="50GiB"),
        _directory("contact-sheets", tier="warm", ttl="30d", quota="20GiB"),
        Draft("outputs", ("outputs/**",), {"tier": "cold", "quota": "100GiB"}, "Kept forever: the quota only warns."),
        _directory("temp", tier="hot", ttl="24h", remove_empty_dirs=True, quota="5GiB"),
    ),
    {
        "watermark": {
            "space": {"high": 0.90, "low": 0.85},
            "min_free": {"at": "5GiB", "until": "10GiB"},
            "order": ["temp", "uploads", "frames", "contact-sheets"],
        },
        "schedule": {"cleanup": "every day at 02:00", "timezone": "UTC"},
    },
)

CACHE = Profile(
    "a cache: whatever nobody has read or written for 30 days can be made again",
    (Draft("cache", ("**",), {"tier": "hot", "ttl": "30d", "clock": ["atime", "mtime"], "action": "delete"}),),
)

SCRATCH = Profile(
    "scratch space: what nobody has read or written for 60 days goes, by way of the trash",
    (
        Draft(
            "scratch",
            ("**",),
            {"exclude": ["**/.keep"], "tier": "hot", "ttl": "60d", "clock": ["atime", "mtime"], "trash_ttl": "7d"},
        ),
    ),
)

EMPTY = Profile("no class: an index, and nothing is ever due", ())

PROFILES: Mapping[str, Profile] = {"media": MEDIA, "cache": CACHE, "scratch": SCRATCH, "empty": EMPTY}


def configuration(profile: Profile, *, path: Path | None = None, state: Path | None = None) -> str:
    """Return a whole commented `indexer.toml`; `path` and `state` for a file that lies outside of its tree."""
    return "\n".join([*_head(profile, path, state), *_classes(profile.classes), *_tables(profile.tables), ""])


def _head(profile: Profile, path: Path | None, state: Path | None) -> Iterator[str]:
    yield "# What is kept how long in this store. After an edit: indexer config check FILE, then indexer plan."
    yield "# Every key is explained in the reference, docs/reference/configuration.md."
    yield f"# Written for {profile.purpose}."
    yield from (f"# {remark}" for remark in profile.remarks)
    yield ""
    yield "[store]"
    yield '# "report" plans and records, and removes nothing. Look at `indexer plan` first, then write "enforce".'
    yield 'mode = "report"'
    if path is not None:
        yield f"path = {toml(str(path))}"
    if state is not None:
        yield f"state = {toml(str(state))}"
    yield '# ignore = ["**/.git/**"]      # not indexed at all'
    yield '# filesystems = ["uploads"]    # other filesystems mounted below that belong to the store'
    yield ""
    yield "[guards]"
    yield "# A run that would remove a larger share is refused, once it concerns more files than min_files."
    yield "max_fraction = 0.5"
    yield "min_files = 100"
    yield "# These two cut a run to its oldest part."
    yield "max_files = 100_000"
    yield 'max_bytes = "500GiB"'


def _classes(drafts: Sequence[Draft]) -> Iterator[str]:
    yield ""
    yield "# The first class that matches a file decides about it. A file in no class is indexed and never touched."
    if not drafts:
        yield "#"
        yield from (f"# {line}" for line in _class(Draft("temp", ("temp/**",), {"ttl": "24h"})))
    for draft in drafts:
        yield ""
        if draft.comment:
            yield f"# {draft.comment}"
        yield from _class(draft)


def _class(draft: Draft) -> Iterator[str]:
    yield "[[class]]"
    yield f"name = {toml(draft.name)}"
    yield f"match = {toml(list(draft.match))}"
    for key, value in draft.keys.items():
        yield f"{key} = {toml(value)}"
    if "ttl" not in draft.keys:
        yield '# ttl = "30d"    # without one: kept forever'


def _tables(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, keys in tables.items():
        yield ""
        yield f"[{name}]"
        for key, value in keys.items():
            yield f"{key} = {toml(value)}"


def toml(value: object) -> str:
    """Return a value as TOML writes it, tables inline."""
    import tomlkit

    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(toml(entry) for entry in value) + "]"
    return tomlkit.item(value).as_string()
