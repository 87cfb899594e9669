"""Look at a tree, not far, and propose classes for what lies there: a start that its owner edits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from indexer.config.globs import literal
from indexer.config.profiles import MEDIA, Draft, Profile

MOST_ENTRIES = 2000
"""Directory entries looked at in one directory."""
MOST_DIRECTORIES = 64
"""Directories of the first level that are looked into, and classes that are proposed for names nobody knows."""

_UNUSED = {"clock": ["atime", "mtime"]}
_TEMPORARY = {"tier": "hot", "ttl": "24h", "remove_empty_dirs": True}
_CACHE = {"tier": "hot", "ttl": "30d", **_UNUSED, "action": "delete"}
_SCRATCH = {"tier": "hot", "ttl": "60d", **_UNUSED, "trash_ttl": "7d"}
_MADE_AGAIN = {"tier": "warm", "ttl": "30d", **_UNUSED}
_LOGS = {"tier": "warm", "ttl": "90d"}

KNOWN: Mapping[str, Mapping[str, Any]] = {
    **{draft.name: draft.keys for draft in MEDIA.classes},
    **dict.fromkeys(("tmp",), _TEMPORARY),
    **dict.fromkeys(("cache", "caches", ".cache", "ccache", "pip-cache"), _CACHE),
    **dict.fromkeys(("scratch",), _SCRATCH),
    **dict.fromkeys(("artifacts", "build", "previews", "proxies", "thumbnails", "thumbs"), _MADE_AGAIN),
    **dict.fromkeys(("log", "logs"), _LOGS),
}
"""What directories with these names usually hold; the names of profile media mean what they mean there."""


def propose(root: Path) -> Profile:
    """Return a policy for what lies in `root` (one level, and for known names a second one; bounded).

    Known names get a ttl, other directories a class that keeps them forever, so that usage can be told apart.
    Symbolic links, hidden directories and other filesystems are left out. Raises OSError when `root` cannot be read.
    """
    names, others, more = _directories(root, os.stat(root).st_dev)
    drafts: list[Draft] = []
    for name in names[:MOST_DIRECTORIES]:
        if name in KNOWN:
            drafts.append(_draft((name,), KNOWN[name], drafts))
            continue
        drafts += _inside(root, name, drafts)
        drafts.append(_draft((name,), {}, drafts))
    remarks = [f'Another filesystem, left out until it is named: filesystems = ["{name}"]' for name in others]
    if more or len(names) > MOST_DIRECTORIES:
        remarks.append("There are more directories than were looked at; what no class matches is never touched.")
    if any(name in {draft.name for draft in MEDIA.classes} for name in names):
        return Profile("what lay in this tree (some of it as in profile media)", tuple(drafts), {}, tuple(remarks))
    return Profile("what lay in this tree", tuple(drafts), {}, tuple(remarks))


def _inside(root: Path, name: str, drafts: list[Draft]) -> Iterator[Draft]:
    """Yield classes for known names inside a directory with an unknown one."""
    try:
        below = _directories(root / name, os.stat(root).st_dev)[0]
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return
    for inner in below:
        if inner in KNOWN:
            yield _draft((name, inner), KNOWN[inner], drafts)


def _draft(parts: tuple[str, ...], keys: Mapping[str, Any], drafts: list[Draft]) -> Draft:
    """Return a class for one directory, under a name that no other one has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-._")[:56] or "class"
    taken = {draft.name for draft in drafts}
    unique = next(
        candidate for candidate in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if candidate not in taken
    )
    return Draft(unique, ("/".join(literal(part) for part in parts) + "/**",), keys)


def _directories(path: Path, device: int) -> tuple[list[str], list[str], bool]:
    """Return (directories, directories on other filesystems, whether there was more than is looked at), by name."""
    found: list[str] = []
    others: list[str] = []
    with os.scandir(path) as entries:
        for entry in islice(entries, MOST_ENTRIES):
            name = entry.name
            if not entry.is_dir(follow_symlinks=False) or (name.startswith(".") and name not in KNOWN):
                continue
            if not name.isprintable() or name != name.strip():
                continue  # undecodable, or not to be written in a file for people
            try:
                home = found if entry.stat(follow_symlinks=False).st_dev == device else others
            except FileNotFoundError:
                continue  # gone meanwhile
            home.append(name)
        more = next(entries, None) is not None
    return sorted(found), sorted(others), more
