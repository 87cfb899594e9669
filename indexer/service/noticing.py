"""Notices of removals to come: what goes within a class's `warn_before`, grouped, told, and only then recorded.

what will be due → not named yet, as it is → a part of it, by class, child or owner → the command → the ledger
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.enforce.ledger import Ledger
from indexer.service.coming import parts
from indexer.service.notice import groups, notice_of, said_of
from indexer.service.notifying import run_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.config.model import Config
    from indexer.index.queries import Reader
    from indexer.store import Store

log = logging.getLogger(__name__)

PRUNED = 10_000
"""Notices of the past that are looked at each time, whether their files are still there."""
PAST = 7 * 86_400
"""Seconds after which a notice of what could have gone is looked at."""
FIRST_TRY, LAST_TRY = 60, 3600
"""Seconds until a command that failed is tried again: doubling from the first to the last."""
KEY = "notify"
"""In the ledger's meta: how the last try went."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a look came to."""

    files: int = 0
    """Files that have been named, and recorded."""
    notices: int = 0
    """How often the command ended well."""
    failed: str | None = None
    """Why the command failed: what it was to tell is not published."""

    def as_json(self) -> dict[str, Any]:
        """Return `notices` of the result of a cleanup."""
        return {"files": self.files, "published": self.notices, "failed": self.failed}


def wants_notices(config: Config) -> bool:
    """Tell whether notices are to be published at all: some class wants them, somebody hears them, files do go."""
    wanted = any(rule.warn_before is not None for rule in config.classes)
    return wanted and config.notify is not None and config.store.mode == "enforce"


def publish_notices(
    store: Store,
    reader: Reader,
    ledger: Ledger,
    clock: Callable[[], float],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Told:
    """Tell of everything that will go within its class's `warn_before` and was not named yet, and record it.

    After a command that failed nothing is tried before its time: twice as long after each failure. Raises LedgerError.
    """
    config = store.config
    if not wants_notices(config) or config.notify is None:
        return Told()
    now = int(clock())
    state = _state(ledger)
    if state["failures"] and state["tried"] <= now < state["next_try"]:
        return Told(failed=state["error"])
    _prune(reader, ledger, now)
    files = notices = 0
    for part in parts(config, reader, ledger, now):
        for key, group in groups(config.notify.by, part).items():
            if stop():
                return Told(files, notices)
            told = notice_of(store, config.notify.by, key, group, int(clock()))
            error = run_command(config.notify, told)
            if error is not None:
                _failed(ledger, state, error, int(clock()))
                log.warning("a notice of %d files is not published: %s", len(group), error)
                return Told(files, notices, error)
            ledger.add_notices(said_of(one, int(clock())) for one in group)
            files, notices = files + len(group), notices + 1
    if state["failures"]:
        ledger.note(KEY, json.dumps({**state, "failures": 0, "error": None, "next_try": None}))
    if files:
        log.info("%d files named in %d notices", files, notices)
    return Told(files, notices)


def _state(ledger: Ledger) -> dict[str, Any]:
    noted = ledger.noted(KEY)
    nothing: dict[str, Any] = {"failures": 0, "since": None, "tried": 0, "next_try": None, "error": None}
    return nothing if noted is None else {**nothing, **json.loads(noted)}


def _failed(ledger: Ledger, state: dict[str, Any], error: str, now: int) -> None:
    failures = state["failures"] + 1
    wait = min(FIRST_TRY * 2 ** (failures - 1), LAST_TRY)
    since = state["since"] if state["failures"] else now
    said = {"failures": failures, "since": since, "tried": now, "next_try": now + wait, "error": error}
    ledger.note(KEY, json.dumps(said))


def notices_document(store: Store) -> dict[str, Any] | None:
    """Return `notices` of `status`: what has been named, and whether the command fails; None: nobody wants notices."""
    if not wants_notices(store.config):
        return None
    if not store.ledger_path.exists():
        return {"files": 0, "last": None, "failures": 0, "since": None, "next_try": None, "error": None}
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        files, last = ledger.notice_totals()
        state = _state(ledger)
    shown = {key: state[key] for key in ("failures", "next_try", "error")}
    return {"files": files, "last": last, "since": state["since"] if state["failures"] else None, **shown}


def _prune(reader: Reader, ledger: Ledger, now: int) -> None:
    """Forget what was said of files that are no longer there, or are others now."""
    gone = []
    for number, notice in ledger.past_notices(now - PAST, PRUNED):
        file = reader.file(notice.path)
        if file is None or file.identity != notice.identity:
            gone.append(number)
    if gone:
        ledger.drop_notices(gone)
