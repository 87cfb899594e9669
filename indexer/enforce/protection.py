"""Holds and leases: what no run may touch, looked up for each file in a time that does not grow with their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.policy.globs import CODEC, Globs, text

if TYPE_CHECKING:
    from collections.abc import Iterable


class Protection:
    """The holds and leases of one moment. A path is a file's or a tree's; a tree covers all below it."""

    __slots__ = ("_files", "_globs", "_trees")

    def __init__(self, entries: Iterable[tuple[bytes, bool, str]], globs: Iterable[bytes] = ()) -> None:
        """`entries` are (path, tree, "held" | "leased"), `globs` gitignore-style globs that hold what they match."""
        patterns = tuple(glob.decode(*CODEC) for glob in globs)
        self._globs = Globs(patterns, "hold") if patterns else None
        self._files: dict[bytes, str] = {}
        self._trees: dict[bytes, str] = {}
        for path, tree, blocker in entries:
            kind = self._trees if tree else self._files
            if kind.get(path) != "held":
                kind[path] = blocker

    def __bool__(self) -> bool:
        return bool(self._files or self._trees or self._globs)

    def blocker(self, path: bytes) -> str | None:
        """Return "held" or "leased" when something covers `path` (relative to the store), else None."""
        if not self:
            return None
        if path in self._files:
            return self._files[path]
        if self._globs is not None and self._globs.cover(text(path)):
            return "held"
        if not self._trees:
            return None
        if b"" in self._trees:
            return self._trees[b""]
        end = len(path)
        while end > 0:
            found = self._trees.get(path[:end])
            if found is not None:
                return found
            end = path.rfind(b"/", 0, end)
        return None

    def inside(self, path: bytes) -> str | None:
        """Return "held" or "leased" when something below the directory `path` is named, whether it exists or not."""
        below = path + b"/"
        found = {word for kind in (self._files, self._trees) for name, word in kind.items() if name.startswith(below)}
        return "held" if "held" in found else "leased" if found else None
