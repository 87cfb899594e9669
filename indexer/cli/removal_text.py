"""What plans, runs and the trash look like to people: plain values in, columns and lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.cli.output import Column
from indexer.cli.words import when
from indexer.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_SOME_FAILED
from indexer.units import count, format_size, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from indexer.cli.words import Table

SHOWN = 20
"""Rows of a plan that a terminal shows."""


def plan_table(actions: Iterable[dict[str, Any]], now: int) -> Table:
    """Return the actions of a plan as a table."""
    columns: list[str | Column] = ["action", "path", "class", Column("on disk", right=True), "reason", "expires"]
    return columns, [
        [
            action["action"],
            action["path"] if "files" not in action else f"{action['path']}/ ({count(action['files'])})",
            action["class"],
            format_size(action["allocated"]),
            action["reason"],
            when(action["expires_at"], now),
        ]
        for action in actions
    ]


def plan_lines(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the totals of a plan: by class, what stays and why, and whether it is all of what is due."""
    totals = plan["totals"]
    if not totals["files"]:
        yield "Nothing is due." if not plan["due"] else "Nothing that is due fits into the limits."
    else:
        yield f"{count(totals['files'])}, {format_size(totals['allocated'])} on disk would go:"
        for name, part in totals["classes"].items():
            yield f"  {name}: {count(part['files'])}, {format_size(part['allocated'])}"
        if totals.get("still_linked"):
            yield f"  {format_size(totals['still_linked'])} of it stay on disk: hard links to these files do not go"
    yield from _trash_lines(plan)
    if empty := plan.get("empty_directories"):
        yield f"Empty directories that would go: {len(empty):,}"
    yield from _watermark_lines(plan.get("watermarks", ()))
    yield from _kept(plan["kept"])
    if plan["truncated"]:
        yield f"Only the oldest part of {count(plan['due'])} that are due; the next run goes on."


def _trash_lines(document: dict[str, Any]) -> Iterator[str]:
    if document.get("purged_files"):
        yield f"From the trash: {count(document['purged_files'])}, {format_size(document['purged_bytes'])}"


def _watermark_lines(watermarks: Iterable[dict[str, Any]]) -> Iterator[str]:
    for mark in watermarks:
        needed = [format_size(mark["needed_bytes"])] if mark["needed_bytes"] else []
        needed += [f"{mark['needed_files']:,} inodes"] if mark["needed_files"] else []
        end = f"; stopped: {mark['stopped']}" if mark["stopped"] else ""
        where = show_text(mark["filesystem"]) or "the store's filesystem"
        yield f"Too full ({mark['mark']}): {where} needs {' and '.join(needed)}, the trash first{end}"


def _kept(kept: dict[str, int]) -> Iterator[str]:
    if kept:
        yield "Kept: " + ", ".join(f"{files:,} {reason}" for reason, files in kept.items())


def _notice_lines(notices: dict[str, Any] | None) -> Iterator[str]:
    if notices is None:
        return
    if notices["files"]:
        yield f"Notice published of {count(notices['files'])} that will go"
    if notices["failed"] is not None:
        yield f"Notices are not published, and what wants one stays: {show_text(notices['failed'])}"


def refusal_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield why a plan or run is refused and what to do; nothing when it is not."""
    if document["refused"] is not None:
        refusal = document.get("refusal") or {}
        yield f"Refused ({document['refused']}): {refusal.get('message', '')}".removesuffix(": ")
        if refusal.get("remedy"):
            yield f"  {refusal['remedy']}"


def result_lines(result: dict[str, Any], store: str = "") -> Iterator[str]:
    """Yield what a run did, or a dry run would do."""
    if result["refused"] is not None and not result["files_removed"]:
        return
    verb = "Would remove" if result["dry_run"] else "Removed"
    parts = []
    if result["bytes_trashed"]:
        parts.append(f"{format_size(result['bytes_trashed'])} to the trash")
    if result["bytes_freed"] or not parts:
        parts.append(f"{format_size(result['bytes_freed'])} freed")
    runs = result.get("runs") or ([] if result["run"] is None else [result["run"]])
    run = f" (run{'s' if len(runs) > 1 else ''} {' and '.join(map(str, runs))})" if runs else ""
    yield f"{verb} {count(result['files_removed'])}: {', '.join(parts)}{run}"
    if len(result["classes"]) > 1:
        for name, part in result["classes"].items():
            size = format_size(part["bytes_trashed"] + part["bytes_freed"])
            yield f"  {name}: {count(part['files_removed'])}, {size}"
    yield from _trash_lines(result)
    yield from _watermark_lines(result.get("watermarks", ()))
    if result["directories_removed"]:
        what = "that would go" if result["dry_run"] else "removed"
        yield f"Empty directories {what}: {result['directories_removed']:,}"
    yield from _kept(result["kept"])
    yield from _notice_lines(result.get("notices"))
    if result["truncated"]:
        yield "Only the oldest part of what is due; the next run goes on."
    if result.get("suspended"):
        yield "Gave up after too many failures in a row."
    if result.get("interrupted"):
        yield "Interrupted: what was done is in the ledger."
    if any(mark.get("purged_files") for mark in result.get("watermarks", ())):
        yield "What a watermark took from the trash cannot be brought back."
    elif not result["dry_run"] and result["run"] is not None and result["bytes_trashed"]:
        yield f"Undo with: indexer {store}restore --run {result['run']}"


def error_lines(errors: Iterable[dict[str, str]]) -> Iterator[str]:
    """Yield each failed item."""
    for error in errors:
        yield show_text(f"{error['path']}: {error['error']}" if error["path"] else error["error"])


def exit_code(result: dict[str, Any]) -> int:
    """Return what a command with this result exits with."""
    if result.get("refused") is not None:
        return EXIT_REFUSED
    if result.get("interrupted"):
        return EXIT_INTERRUPTED
    return EXIT_SOME_FAILED if result.get("errors") else EXIT_DONE


def trash_table(items: Iterable[dict[str, Any]], now: int) -> Table:
    """Return what lies in the trash as a table."""
    columns: list[str | Column] = [
        Column("run", right=True),
        "path",
        "class",
        Column("on disk", right=True),
        "restorable until",
    ]
    return columns, [
        [
            item["run"],
            item["path"],
            item["class"],
            format_size(item["bytes"]),
            "" if item["restorable_until"] is None else when(item["restorable_until"], now),
        ]
        for item in items
    ]
