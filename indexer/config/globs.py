"""gitignore-style globs as the configuration writes them: what looks like a pattern but would match nothing is refused.

Matching itself is the policy's (pathspec); here only texts are judged, so that reading a configuration stays cheap.
"""

from __future__ import annotations

import re

from indexer.errors import UsageError


def check(value: object) -> str:
    """Return the glob, or raise UsageError for one that gitignore's rules would drop, misread or never match."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{value!r} is not a glob", remedy='write texts: ["uploads/**"]')
    if value.startswith("!"):
        raise UsageError(
            f'"{value}": exceptions are not written with "!"', remedy="put it into `exclude`, without the !"
        )
    if value.startswith("#"):
        raise UsageError(f'"{value}" would be a comment', remedy=f"write '\\{value}' in single quotes")
    if value != value.strip() or "\n" in value or "\0" in value:
        raise UsageError(f"{value!r} begins or ends with white space, or has a line break", remedy="remove it")
    if value.startswith("./"):
        raise UsageError(f'"{value}" matches nothing: paths have no "./"', remedy=f'write "{value[2:]}"')
    parts = value.removeprefix("/").removesuffix("/").split("/")
    if ".." in parts or "." in parts or "" in parts:
        raise UsageError(
            f'"{value}" matches nothing: a path has no empty part, "." or ".."', remedy="write it relative to the store"
        )
    if _unfinished(value):
        raise UsageError(
            f'"{value}" has an unfinished [ or \\', remedy="close the bracket, or write '\\[' for a plain one"
        )
    return value


def check_directory(value: object) -> str:
    """Return a plain relative directory (no glob), or raise UsageError."""
    if not isinstance(value, str) or not value.strip("/"):
        raise UsageError(f"{value!r} is not a directory below the store", remedy='write names: ["uploads"]')
    if value.startswith("/"):
        raise UsageError(f'"{value}" is absolute', remedy="write it relative to the store")
    parts = value.rstrip("/").split("/")
    if ".." in parts or "." in parts or "" in parts or "\0" in value:
        raise UsageError(f'"{value}" is not a plain path', remedy='write it without "..", "." and doubled slashes')
    return "/".join(parts)


def literal(text: str) -> str:
    r"""Return the glob that matches exactly this text: `*`, `?`, `[` and `\` escaped, and a first `!` or `#`."""
    escaped = "".join("\\" + letter if letter in "*?[\\" else letter for letter in text)
    return "\\" + escaped if escaped.startswith(("!", "#")) else escaped


def prefix_of(glob: str) -> str | None:
    r"""Return the plain directory of a glob `directory/**` (`frames` of `frames/**`, "" of `**`), else None."""
    if glob in {"**", "/**"}:
        return ""
    if not glob.endswith("/**"):
        return None
    directory = glob.removesuffix("/**").removeprefix("/")
    plain = re.sub(r"\\.", "", directory)
    return None if any(letter in "*?[\\" for letter in plain) else directory


def covers(first: str, second: str) -> bool:
    """True when every path that `second` matches is surely matched by `first`, as far as plain prefixes tell."""
    if first == second or first in {"**", "/**", "*"}:
        return True
    outer = prefix_of(first)
    inner = second.removeprefix("/")
    return outer is not None and "/" in second.strip("/") and inner.startswith(outer + "/")


def _unfinished(glob: str) -> bool:
    """True when a bracket is never closed, or the last backslash escapes nothing."""
    position, start, inside = 0, 0, False
    while position < len(glob):
        letter = glob[position]
        if letter == "\\":
            position += 1
            if position == len(glob):
                return True
        elif inside and letter == "]" and position > start:
            inside = False
        elif not inside and letter == "[":
            inside = True
            start = position + (2 if glob[position + 1 : position + 2] in {"!", "^"} else 1)
        position += 1
    return inside
