"""`doctor`: what is wrong with this machine, this store, this configuration; with remedies, some done at once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, confirm_or_refuse, examples
from indexer.cli._paths import DIRECTORY
from indexer.cli.output import Column
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED, ConfigError, IndexerError, NoStoreError, ServiceError
from indexer.units import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.reports.machine import Check
    from indexer.store import Store


@click.command(
    epilog=examples(
        "indexer doctor /srv/media",
        "indexer doctor --json | jq '.checks[] | select(.ok|not)'",
        "indexer doctor --fix -n",
    )
)
@DIRECTORY
@click.option("--fix", is_flag=True, help="Set what [permissions] asks for; close the store's own files to others.")
@click.option("-n", "--dry-run", is_flag=True, help="With --fix: say how much would be set, set nothing.")
@click.option("-y", "--yes", is_flag=True, help="With --fix: do not ask.")
@common_options
def doctor(cli: Cli, directory: Path | None, fix: bool, dry_run: bool, yes: bool) -> int:
    """Check kernel, capabilities, mounts, leases, SQLite, room, trust, permissions and configuration of a store.

    Exit 1 when a check fails. Every failure names its remedy. --fix never changes a file with several names, nor
    anything through a symbolic link.
    """
    from indexer.reports.doctor import doctor as examine
    from indexer.reports.doctor import examine_machine
    from indexer.store import locate_store, open_store

    root = locate_store(directory, cli.store, config_path=cli.config)
    fixed: dict[str, Any] | None = None
    try:
        store = open_store(root, config_path=cli.config)
    except NoStoreError:
        raise
    except IndexerError as error:  # what is wrong is what was asked for
        checks = [*examine_machine(), *_hindrance(error)]
    else:
        if fix:
            fixed = _fix(cli, store, dry_run=dry_run, yes=yes)
        checks = examine(store)
        checks.append(_service(store))
    if cli.out.json:
        cli.out.document({"checks": [asdict(check) for check in checks], **({"fixed": fixed} if fixed else {})})
    else:
        cli.out.table((Column(""), "check", "found, and its remedy"), _rows(checks))
    return EXIT_DONE if all(check.ok for check in checks) else EXIT_SOME_FAILED


def _service(store: Store) -> Check:
    """Return whether a service answers, and which process it is."""
    from indexer.reports.machine import Check
    from indexer.service.client import ANSWER_SECONDS, request
    from indexer.service.state import HEALTHY

    pid = store.service_pid()
    process = f"process {pid}" if pid else "another process"
    try:
        state = request(store, "status", ANSWER_SECONDS)
    except ServiceError:
        if pid is None:
            return Check("service", ok=False, detail="not running", remedy="start it with `indexer watch`")
        remedy = (
            "a scan is done soon, and a service that starts; of one that hangs the log tells: end it, start it anew"
        )
        return Check("service", ok=False, detail=f"{process} holds the service lock and does not answer", remedy=remedy)
    healthy = state["state"] in HEALTHY
    detail = ": ".join([f"{process}, {state['state']}", *([", ".join(state["reasons"])] if state["reasons"] else [])])
    return Check("service", ok=healthy, detail=detail, remedy="" if healthy else "`indexer status` says more")


def _rows(checks: list[Check]) -> Iterator[tuple[str, str, str]]:
    """Yield a row a check, and below it its remedy."""
    for check in checks:
        yield ("ok" if check.ok else "!", check.name, check.detail)
        if check.remedy:
            yield ("", "", check.remedy)


def _hindrance(error: IndexerError) -> Iterator[Check]:
    """Yield what keeps the store from being opened, a check for each problem of its configuration."""
    from indexer.reports.machine import Check

    if not isinstance(error, ConfigError) or not error.problems:
        name = {"config": "configuration", "usage": "store"}.get(error.code, error.code)
        yield Check(name, ok=False, detail=error.message, remedy=error.remedy)
        return
    for problem in error.problems:
        detail = ": ".join(part for part in (problem["file"], problem["key"], problem["message"]) if part)
        yield Check("configuration", ok=False, detail=detail, remedy=problem["remedy"])


def _fix(cli: Cli, store: Store, *, dry_run: bool, yes: bool) -> dict[str, Any]:
    """Set modes and owners after a look at how many, and ask; return what was done."""
    from indexer.reports.permissions import mend, mendable

    with store.run_lock():
        wanted = mendable(store)
        if wanted.total:
            question = (
                f"Set mode, owner or group of {count(wanted.entries, 'entry', 'entries')}, close"
                f" {wanted.private:,} of the store's?"
            )
            confirm_or_refuse(question, yes=yes, dry_run=dry_run)
        done = wanted if dry_run or not wanted.total else mend(store)
    verb = "would be set" if dry_run else "set"
    cli.out.note(
        f"{verb}: {count(done.entries, 'entry', 'entries')}, {count(done.private)} of the store;"
        f" left alone: {done.skipped:,}"
    )
    return {"dry_run": dry_run, "entries": done.entries, "private": done.private, "skipped": done.skipped}
