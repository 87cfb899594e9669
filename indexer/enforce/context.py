"""What is the same for a whole run: its plan, its store, its record; and whether it may begin at all."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexer.enforce.result import RunResult, Tally
from indexer.syscalls.lease import HAVE_LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.places import StoreLike
    from indexer.policy.plan import Plan


@dataclass(slots=True)
class Context:
    """What is the same for the whole run."""

    plan: Plan
    store: StoreLike
    ledger: Ledger
    now: Callable[[], float]
    kind: str
    trigger: str
    user: str
    index_age_seconds: int | None

    def begin(self) -> int:
        """Record that the run begins; return its id."""
        config = self.store.config
        return self.ledger.begin_run(
            self.kind,
            self.trigger,
            user=self.user,
            mode=config.store.mode,
            policy=config.fingerprint,
            now=self.now(),
            planned=len(self.plan.actions),
        )

    def refuse(self, guard: str, message: str, remedy: str) -> RunResult:
        """Record a run that may not do anything; return its result."""
        result = replace(Tally().result(None, self.plan), refused=guard, message=message, remedy=remedy)
        return self._whole(result)

    def nothing(self) -> RunResult:
        """Record a run that has nothing to do: one durable commit, which is all that it costs; return its result."""
        return self._whole(Tally().result(None, self.plan))

    def _whole(self, result: RunResult) -> RunResult:
        result = replace(result, index_age_seconds=self.index_age_seconds)
        config = self.store.config
        run = self.ledger.whole_run(
            self.kind,
            self.trigger,
            result.as_json(),
            user=self.user,
            mode=config.store.mode,
            policy=config.fingerprint,
            now=self.now(),
            planned=len(self.plan.actions),
        )
        return replace(result, run=run)


def refusal_of(plan: Plan, store: StoreLike) -> tuple[str, str, str] | None:
    """Return (guard, message, remedy) when the run may not begin."""
    if store.config.store.mode != "enforce":
        return (
            "mode",
            "the store is in report mode: nothing is ever removed",
            'look at `indexer plan`; when it is what you want, set mode = "enforce" in [store]',
        )
    if plan.refused is not None:
        return str(plan.refused.guard), plan.refused.message, plan.refused.remedy
    if sys.platform != "linux" or not HAVE_LEASES:
        return (
            "platform",
            "removing needs Linux: leases, O_PATH and renameat2 are what its promises rest on",
            "run `indexer plan` here, and the removal on a Linux host that mounts the same tree",
        )
    return None
