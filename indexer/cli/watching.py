"""`scan`, `watch`, `settle` and `status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import DIRECTORY, PATH
from indexer.errors import EXIT_DONE, EXIT_SOME_FAILED, UsageError
from indexer.units import count, format_duration, format_size, format_time, show_text

if TYPE_CHECKING:
    from indexer.store import Store

DIRECTORIES = ("directory", "directories")
BACKENDS = ("auto", "fanotify", "inotify", "native", "poll")
ANSWER_SECONDS = 2.0
"""How much longer than asked a settle waits for the service's own word that the time is over."""


@click.command(epilog=examples("indexer scan /srv/media", "indexer scan --quick --json"))
@DIRECTORY
@click.option("--quick", is_flag=True, help="List only the directories whose names have changed.")
@common_options
def scan(cli: Cli, directory: Path | None, quick: bool) -> int:
    """Bring the index of the store at DIR up to date once; every file is stat'ed.

    Beside a running service the service does it. A plain directory becomes a store first (index only: nothing is ever
    removed from it). Exit 1 when something could not be listed; its rows stay.
    """
    from indexer.manager import StorageManager

    store, made = cli.open_or_initialise(directory, reach=True)
    with cli.out.progress("scanning") as update:
        result = StorageManager.of(store).scan(quick=quick, progress=lambda seen, _waiting: update(seen, None))
    if cli.out.json:
        cli.out.document(result)
    else:
        _show_scan(cli, result)
    if made:
        _introduce(cli, store, result)
    return EXIT_SOME_FAILED if any(skip["unreadable"] for skip in result["skipped"]) else EXIT_DONE


def _show_scan(cli: Cli, result: dict[str, Any]) -> None:
    for skip in result["skipped"]:
        cli.out.note(f"skipped {skip['path']}: {skip['reason']}", style="yellow" if skip["unreadable"] else "")
    cli.out.text(
        f"{count(result['files'])}, {count(result['directories'], *DIRECTORIES)}, {format_size(result['bytes'])} in"
        f" {result['seconds']:.1f} s: {result['added']:,} added, {result['updated']:,} updated,"
        f" {result['removed']:,} removed"
    )


def _introduce(cli: Cli, store: Store, figures: dict[str, Any]) -> None:
    """Say once what a plain directory has become."""
    from indexer.service.status import backend_here

    backend, why = backend_here(store)
    cli.out.note(f"{store.root} is a store now: {count(figures['files'])}, {format_size(figures['bytes'])}.")
    cli.out.note(f"Backend: {backend} ({why}).")
    if store.config.classes:
        policy = store.config
        classes = count(len(policy.classes), "class", "classes")
        cli.out.note(f"Its policy was there already: {classes}, mode {policy.store.mode}.")
    else:
        cli.out.note("Nothing will be removed: next `indexer init` writes a policy to edit.")


@click.command(
    epilog=examples(
        "indexer watch /srv/media",
        "indexer watch /srv/media /srv/scratch      several stores, one process",
        "indexer watch --config-dir /etc/indexer    the store of each configuration there",
        "indexer watch --backend native             watchdog's own observer",
    )
)
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=PATH)
@click.option("--config-dir", type=PATH, metavar="DIR", help="Serve the store of every *.toml in this directory.")
@click.option("--backend", type=click.Choice(BACKENDS), help="Instead of the configuration's.")
@click.option("--no-schedule", is_flag=True, help="Only watch: start no cleanup by itself.")
@click.option("--http", metavar="ADDR", help="Health and metrics at 127.0.0.1:8181 or unix:PATH.")
@common_options
def watch(
    cli: Cli,
    directories: tuple[Path, ...],
    config_dir: Path | None,
    backend: str | None,
    no_schedule: bool,
    http: str | None,
) -> None:
    """Run the service of the store at each DIR: observe, index, answer `settle` and `status`.

    Prints `ready` on stderr once events flow and the index has every name. SIGTERM and SIGINT end it after what has
    happened so far is in the index; a second one ends it at once. SIGHUP reads the configuration again, SIGUSR1 writes
    the state into the log, which is JSON where stderr is no terminal. A plain directory becomes a store first (index
    only). Of several stores one that fails is tried again and stops no other. Root, in no store, serves those that
    /etc/indexer/*.toml configure.
    """
    from indexer.cli.hosting import host
    from indexer.cli.openings import Stores
    from indexer.config.listen import read_address

    stores = Stores(cli, directories, config_dir)
    if http is not None:
        if stores.several:
            raise UsageError("--http with several stores", remedy="write listen in the [http] of each")
        read_address(http)

    def ready() -> None:
        from indexer.service.once import figures

        for store in stores.made:
            _introduce(cli, store, figures(store))

    host(
        cli.out,
        stores.openings(),
        backend=backend,
        schedule=not no_schedule,
        http=http,
        on_ready=ready,
        again=stores.openings if stores.directory is not None else None,
    )


@click.command(epilog=examples("indexer settle && indexer report usage", "indexer settle /srv/media --timeout 5"))
@DIRECTORY
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS")
@common_options
def settle(cli: Cli, directory: Path | None, timeout: float) -> None:
    """Return once all that happened before this call is in the index, verification included.

    Needs a running `indexer watch`. Exit 1 when the time is over.
    """
    from indexer.service.client import request

    answer = request(cli.manager_in_force(directory).store, "settle", timeout + ANSWER_SECONDS, timeout=timeout)
    if cli.out.json:
        cli.out.document({"seconds": answer["seconds"]})
    else:
        cli.out.note(f"settled in {answer['seconds']:.3f} s")


@click.command(epilog=examples("indexer status", "indexer status --json | jq .state"))
@DIRECTORY
@common_options
def status(cli: Cli, directory: Path | None) -> int:
    """Show state and health of a store. Exit 0 when clean or reconciling, 1 when degraded or stopped."""
    from indexer.service.state import HEALTHY

    # Not verified: a root that has gone is what the state is asked for.
    document = cli.manager_in_force(directory, verify=False).status()
    if cli.out.json:
        cli.out.document(document)
    else:
        _show_status(cli, document)
    return EXIT_DONE if document["state"] in HEALTHY else EXIT_SOME_FAILED


_COLORS = {"clean": "green", "reconciling": "yellow", "degraded": "red", "stopped": "red"}


def _show_status(cli: Cli, document: dict[str, Any]) -> None:
    out, state = cli.out, document["state"]
    out.text(f"{document['store']}: {state}", style=_COLORS[state])
    for reason, detail in zip(document["reasons"], document["details"], strict=False):
        out.text(f"  {reason}: {detail}")
    moment = time.time()
    rows = [
        ("backend", f"{document['backend']} ({document['backend_reason']})"),
        ("files", f"{document['files']:,} in {count(document['directories'], *DIRECTORIES)}"),
        ("size", f"{format_size(document['bytes'])}, {format_size(document['allocated'])} allocated"),
        ("due", f"{count(document['due_files'])}, {format_size(document['due_bytes'])} (mode {document['mode']})"),
        ("trash", format_size(document["trash_bytes"])),
        ("pending", f"{document['pending']:,}, {document['lag_seconds']:.3f} s behind"),
        ("doubts", f"{document['overflows']:,} overflows, {document['rescans']:,} rescans"),
        *((("unwatched", f"{count(document['unwatched'], *DIRECTORIES)}: polled"),) if document["unwatched"] else ()),
        ("last event", _ago(document["last_event"], moment)),
        ("verified", _ago(document["last_reconcile"], moment)),
        *pass_row(document),
        *_notices(document["notices"], moment),
        *((f"job {job['name']}", _job(job, moment)) for job in document["jobs"]),
        *(("not entered", path) for path in document["skipped_mounts"]),
        *(("unreadable", path) for path in document["unreadable"]),
    ]
    for name, value in rows:
        out.text(f"  {name:<12}{value}")


def pass_row(document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return how far a pass over the whole tree is; nothing where there is none."""
    reason, listed, total = (document[key] for key in ("pass_reason", "pass_directories", "directories"))
    if reason is None:
        return ()
    if reason == "first":
        return (("first scan", f"{count(listed, *DIRECTORIES)} so far"),)
    listed = min(listed, total)  # what changes meanwhile is listed too
    return (("verifying", f"{listed:,} of {count(total, *DIRECTORIES)}, {100 * listed // max(total, 1)} % ({reason})"),)


def _notices(found: dict[str, Any] | None, now: float) -> tuple[tuple[str, str], ...]:
    """Return what is to be said of notices; nothing where no class wants them."""
    if found is None:
        return ()
    text = f"{count(found['files'])} named, last {_ago(found['last'], now)}"
    if found["failures"]:
        since = f"failing since {format_time(found['since'])}, next try {format_time(found['next_try'])}"
        text += f"; {since}: {show_text(found['error'])}"
    return (("notices", text),)


def _job(job: dict[str, Any], now: float) -> str:
    following = "not scheduled now" if job["next"] is None else f"next {format_time(job['next'])}"
    if job["detail"]:
        return f"{following}, failed: {job['detail']}"
    if job["last"] is None:
        return f"{following}, not run yet"
    took = "" if job["seconds"] is None else f" in {job['seconds']:.0f} s"
    return f"{following}, last {_ago(job['last'], now)}: {'running' if job['running'] else job['result']}{took}"


def _ago(at: int | None, now: float) -> str:
    if at is None:
        return "never"
    return f"{format_time(at)} ({format_duration(max(0, int(now) - at))} ago)"
