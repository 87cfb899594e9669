"""A run from its first word in the ledger to its last: what it may do, whom it tells, and that it ends as it should."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.account import Account
from indexer.enforce.attribute import held_by_descriptor
from indexer.enforce.context import Context, refusal_of
from indexer.enforce.interrupt import Stop
from indexer.enforce.pace import Pace
from indexer.enforce.patience import Patience
from indexer.enforce.places import Places
from indexer.enforce.reaper import Reaper
from indexer.enforce.recheck import belongs_of
from indexer.enforce.recover import recover, recover_at_start
from indexer.enforce.remove import Remover
from indexer.enforce.who import current_user
from indexer.enforce.work import Work
from indexer.syscalls.lease import signals_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from indexer.enforce.account import Rows
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.pin import Recheck
    from indexer.enforce.places import StoreLike
    from indexer.enforce.result import RunResult
    from indexer.policy.plan import Plan
    from indexer.rules import Rule


def execute(
    plan: Plan,
    *,
    store: StoreLike,
    root_fd: int,
    ledger: Ledger,
    recheck: Recheck,
    now: Callable[[], float],
    empty: Mapping[bytes, Rule] | None = None,
    on_removed: Rows | None = None,
    on_stale: Rows | None = None,
    on_progress: Callable[[int], None] | None = None,
    kind: str = "expire",
    trigger: str = "command",
    user: str | None = None,
    stop: Callable[[], bool] | None = None,
    index_age_seconds: int | None = None,
    suspend_after: int | None = None,
    patience: Patience | None = None,
) -> RunResult:
    """Do what the plan says, and record it.

    The caller holds the store's run lock; `root_fd` is the verified root. `recheck` is the policy's second look
    (`recheck.rechecker`), `now` the clock (Unix seconds). `empty` are directories that the index knows to be empty,
    with the rule of their class: those that were so for its min_age go too. `on_removed` gets the index rows of files
    that are gone, `on_stale` those that no longer agree with the tree and want a fresh look (and, before `on_removed`,
    those with other names), `on_progress` how many files are done. `stop` ends the run after the files in hand, as
    Ctrl-C does: the result says `interrupted`. After `suspend_after` failures in a row (default: the guard
    `suspend_errors`) it gives up: `suspended`. `patience` is how it waits for errors that may pass.

    A plan that a guard refused, a store in report mode and a platform without the recipe give a result with `refused`,
    recorded too, and nothing is touched. Raises LedgerError when the ledger cannot be written (what was done before
    is recovered at the next start); an OSError about a file is an item of `errors`.
    """
    context = Context(plan, store, ledger, now, kind, trigger, user or current_user(), index_age_seconds)
    refusal = refusal_of(plan, store)
    if refusal is not None:
        return context.refuse(*refusal)
    if not (plan.actions or empty):
        recover_at_start(store=store, root_fd=root_fd, ledger=ledger, now=now)
        return context.nothing()
    with ExitStack() as stack:
        places = stack.enter_context(Places(root_fd, store))
        recover(places=places, ledger=ledger, now=now)
        stopping = Stop(stop)
        stack.enter_context(stopping.listening())
        owner = stack.enter_context(signals_here())
        run = context.begin()
        hooks.at("run.begun")
        limit = store.config.guards.suspend_errors if suspend_after is None else suspend_after
        # A disk that is full has no time to spare for those who use it.
        rate = None if kind == "watermark" else store.config.guards.max_rate
        reaper = stack.enter_context(Reaper())
        if kind == "watermark" and on_removed is not None:
            on_removed = _freed(reaper, on_removed)
        account = Account(context, places, run, on_removed, on_stale, on_progress)
        work = Work(account, places, limit, stopping, belongs_of(recheck), Pace(rate, stopping))
        held = (lambda fd: held_by_descriptor(fd, now())) if store.config.holds.xattr else None
        work.remover = Remover(places, recheck, now, owner, work.ends, patience or Patience(), reaper, held)
        try:
            work.files()
            work.empty_directories(empty or {})
        finally:
            # Also on the way out of a fault: what was done is recorded, what was not begun is withdrawn.
            reaper.drain()
            result = account.finish(suspended=work.suspended)
    return result


def _freed(reaper: Reaper, on_removed: Rows) -> Rows:
    """Return `on_removed` for those who look, when they are told of rows, at how much room has come of them."""

    def told(rows: list[tuple[int, bytes]]) -> None:
        reaper.drain()
        on_removed(rows)

    return told
