"""One run from store to result: current index → candidates → plan → removal. The same for command, API and schedule."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from indexer.enforce.archiving import archive_runs
from indexer.enforce.ledger import Ledger
from indexer.enforce.recheck import rechecker
from indexer.enforce.recover import recover_at_start
from indexer.enforce.result import RunResult
from indexer.enforce.run import execute
from indexer.enforce.trash import PurgeResult, purge_trash
from indexer.errors import BusyError, IndexerError
from indexer.index.queries import Reader
from indexer.policy.classes import Classifier
from indexer.service.current import Current, ledger_to_read, settle
from indexer.service.emptied import foretell_empty, long_empty
from indexer.service.forecast import foretell
from indexer.service.full_disk import index_anyway, index_to_read
from indexer.service.planning import Scope, anything, attributes_of, blockers_of, decide_all, notices_of
from indexer.service.relief import Relief, merged
from indexer.service.running import service_running
from indexer.service.sampling import take_sample
from indexer.service.thrash import note_thrash
from indexer.service.wall import moment, note, stepped
from indexer.units import show_text

if TYPE_CHECKING:
    from indexer.config.model import Config
    from indexer.policy.plan import Plan
    from indexer.service.planning import Chosen
    from indexer.service.written import Written
    from indexer.store import Store

log = logging.getLogger(__name__)

__all__ = ["Scope", "run"]


def run(
    store: Store,
    clock: Callable[[], float],
    scope: Scope,
    *,
    kind: str,
    trigger: str = "command",
    dry_run: bool = False,
    scan: bool = True,
    wait: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] | None = None,
    still: Callable[[Ledger], bool] = lambda _: True,
    written: Written | None = None,
) -> RunResult:
    """Make the plan and do it; `kind` is `expire`, `quota`, `watermark`, or `cleanup`, which is all of them.

    A cleanup first empties the trash of what is past its time; a watermark alone only makes room where there is none.

    `wait` is how long (seconds) to wait for another run. `still` is asked under the run lock whether the run is wanted
    still; when it is not (another process has done it meanwhile), the result is `skipped`. Nothing goes that a
    `written` plan does not name. Raises BusyError, NotScannedError, LedgerError and what `current_index` raises; a
    guard's refusal is in the result. Whoever is to be told of it (`[notify]`) is told after it, of coming removals too.
    """
    result = _run(
        store,
        clock,
        scope,
        kind=kind,
        trigger=trigger,
        dry_run=dry_run,
        scan=scan,
        wait=wait,
        stop=stop,
        progress=progress,
        still=still,
        written=written,
    )
    if dry_run or result.skipped:
        return result
    if store.config.notify is not None:
        from indexer.service.alerts import alert_of_run

        alert_of_run(store, result, clock())
    return replace(result, notices=_afterwards(store, clock, stop))


def _afterwards(store: Store, clock: Callable[[], float], stop: Callable[[], bool]) -> dict[str, Any] | None:
    """Publish the notices that are due, unless the service does, and archive old runs once a day.

    What fails is said, and is no failure of the run.
    """
    publish = _publishes(store)
    try:
        with store.run_lock(), Ledger.open(store.ledger_path) as ledger:
            archive_runs(store, ledger, int(clock()), stop=stop)
            if publish:
                from indexer.service.noticing import publish_notices

                with Reader.open(store.index_path) as reader:
                    return publish_notices(store, reader, ledger, clock, stop=stop).as_json()
    except BusyError:
        return None  # another run has begun, which does the same
    except (IndexerError, OSError) as error:
        log.warning("after the run: %s", show_text(str(error)))
        if publish:
            from indexer.service.noticing import Told

            return Told(failed=str(error)).as_json()
    return None


def _publishes(store: Store) -> bool:
    """Say whether notices are wanted, and nobody else publishes them."""
    if store.config.notify is None:
        return False
    from indexer.service.noticing import wants_notices

    return wants_notices(store.config) and not service_running(store)


def _run(
    store: Store,
    clock: Callable[[], float],
    scope: Scope,
    *,
    kind: str,
    trigger: str,
    dry_run: bool,
    scan: bool,
    wait: float,
    stop: Callable[[], bool],
    progress: Callable[[int], None] | None,
    still: Callable[[Ledger], bool],
    written: Written | None,
) -> RunResult:
    scope = replace(scope, ttl_only=kind == "expire", quota_only=kind == "quota")
    chosen: Chosen = written.chosen if written is not None else anything
    with ExitStack() as stack:
        if dry_run:
            current = index_to_read(stack, store, clock, scan=scan, write=True)
            known = ledger_to_read(store, stack)
            doubted = None if known is None else stepped(known, store.config.guards, moment())
            decided = decide_all(
                store.config, current.reader, known, int(clock()), scope, refusal=doubted, chosen=chosen
            )
            if kind == "cleanup":
                decided = foretell(decided, store, current.reader, known, scope.override, chosen)
            decided = _named(decided, written, current.reader, known, store.config)
            if written is None:
                decided = foretell_empty(decided, store.config, current.reader, known, scope)
            return RunResult.planned(decided, index_age_seconds=current.age_seconds)
        stack.enter_context(store.run_lock(wait=wait))
        ledger = stack.enter_context(Ledger.open(store.ledger_path))
        if not still(ledger):
            return RunResult(skipped=True)
        root_fd = store.open_root()
        stack.callback(os.close, root_fd)
        # First of all, so that what a crash left in the trash is back in the tree before the tree is looked at.
        recover_at_start(store=store, root_fd=root_fd, ledger=ledger, now=clock)
        current = index_anyway(stack, store, ledger, clock, scan=scan)
        at = moment()
        stop_clock = stepped(ledger, store.config.guards, at)
        index = current.index
        classifier = Classifier(store.config.classes, store.config.store.ignore)
        again = rechecker(classifier, heard=_heard(current))

        def relieve() -> list[Relief]:
            from indexer.service.pressure import Relieving

            return Relieving(
                store,
                current.reader,
                ledger,
                root_fd,
                again,
                clock,
                on_removed=index.removed if index is not None else None,
                trigger=trigger,
                stop=stop,
                progress=progress,
                override=scope.override,
                chosen=chosen,
            ).all()

        if kind == "watermark":
            if stop_clock is not None:
                return RunResult(refused=stop_clock.guard, message=stop_clock.message, remedy=stop_clock.remedy)
            note(ledger, at)
            return merged(RunResult(index_age_seconds=current.age_seconds), relieve())
        decided = decide_all(
            store.config, current.reader, ledger, int(clock()), scope, refusal=stop_clock, chosen=chosen
        )
        decided = _named(decided, written, current.reader, ledger, store.config)
        if stop_clock is None or scope.override == stop_clock.guard:
            note(ledger, at)
        purged = PurgeResult()
        # What a guard refuses does nothing at all: by a clock that is wrong the whole trash may be past its time.
        if kind == "cleanup" and decided.refused is None and store.config.store.mode == "enforce":
            purged = purge_trash(store=store, root_fd=root_fd, ledger=ledger, now=clock, trigger=trigger)
        if scope.override is not None:
            trigger = f"override {scope.override}"
        take_sample(store, current.reader, ledger, int(clock()))
        note_thrash(current.reader, ledger, int(clock()), store.config.ledger.thrash)
        result = execute(
            decided,
            store=store,
            root_fd=root_fd,
            ledger=ledger,
            recheck=again,
            now=clock,
            empty=long_empty(current.reader, classifier, int(clock()), scope) if written is None else None,
            on_removed=index.removed if index is not None else None,
            on_stale=index.forget if index is not None else None,
            on_progress=progress,
            kind=kind,
            trigger=trigger,
            stop=stop,
            index_age_seconds=current.age_seconds,
        )
        if index is not None and result.directories_removed:
            from indexer.scan import quick_scan

            quick_scan(index, clock)
        result = replace(
            result,
            bytes_freed=result.bytes_freed + purged.bytes_freed,
            errors=(*result.errors, *purged.errors),
            purged_files=purged.files_removed,
            purged_bytes=purged.bytes_freed,
        )
        if kind != "cleanup" or result.refused is not None or result.interrupted or store.config.watermark is None:
            return result
        if written is not None and not written.watermarks:
            return result
        if index is None and service_running(store):
            settle(store, scan=scan)
        current.reader.forget()
        result = merged(result, relieve())
        return result if written is None else written.unasked(decided, result)


def _heard(current: Current) -> bool:
    """Say whether a running service tells who reads what, so that st_atime does not count (`index.hearing`)."""
    if not current.store.config.store.ignore_readers or not service_running(current.store):
        return False
    return current.reader.meta("hearing_since") is not None


def _named(plan: Plan, written: Written | None, reader: Reader, ledger: Ledger | None, config: Config) -> Plan:
    """Return the plan, telling of what a written one names and it does not take."""
    if written is None:
        return plan
    protection = ledger.protection(plan.now) if ledger is not None else None
    blockers = blockers_of(reader, protection, attributes_of(config, plan.now), notices_of(config, ledger, plan.now))
    return written.skipped(plan, reader, {rule.name: rule for rule in config.classes}, blockers)
