"""What a recovery found, and the result of a run told from its actions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.enforce.rows import Action, Ending


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found: runs that were cut off, and what became of their files."""

    runs: tuple[int, ...] = ()
    put_back: int = 0
    in_trash: int = 0
    unknown: int = 0
    errors: tuple[tuple[bytes, str], ...] = ()


def totals_of(actions: Iterator[Action], *, truncated: bool) -> dict[str, Any]:
    """Return the result of a run from its actions alone."""
    classes: dict[str, dict[str, int]] = {}
    kept: dict[str, int] = {}
    errors, directories = [], 0
    for action in actions:
        if action.outcome == "kept":
            kept[action.error or ""] = kept.get(action.error or "", 0) + 1
        elif action.action == "rmdir":
            directories += action.outcome == "deleted"
        elif action.outcome in {"failed", "stray", "unknown"}:
            errors.append(action.path)
        else:
            part = classes.setdefault(
                action.class_name or "", {"files_removed": 0, "bytes_freed": 0, "bytes_trashed": 0}
            )
            part["files_removed"] += 1
            if action.outcome == "deleted":
                part["bytes_freed"] += action.allocated if action.links <= 1 else 0
            else:
                part["bytes_trashed"] += action.allocated
    return {
        "files_removed": sum(part["files_removed"] for part in classes.values()),
        "bytes_freed": sum(part["bytes_freed"] for part in classes.values()),
        "bytes_trashed": sum(part["bytes_trashed"] for part in classes.values()),
        "directories_removed": directories,
        "errors": errors,
        "kept": kept,
        "classes": classes,
        "truncated": truncated,
        "interrupted": True,
    }


def with_endings(
    found: Recovered, endings: list[Ending], run: int | None = None, errors: list[tuple[bytes, str]] | None = None
) -> Recovered:
    """Return `found` with these endings, and the run they belong to once it is through."""
    return Recovered(
        runs=found.runs if run is None else (*found.runs, run),
        put_back=found.put_back + sum(ending.outcome == "kept" for ending in endings),
        in_trash=found.in_trash + sum(ending.outcome in {"trashed", "stray"} for ending in endings),
        unknown=found.unknown + sum(ending.outcome == "unknown" for ending in endings),
        errors=(*found.errors, *(errors or ())),
    )
