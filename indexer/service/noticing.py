"""Notices of removals to come: what goes within a class's `warn_before`, grouped, told, and only then recorded.

what will be due → not named yet, as it is → a part of it, by class, child or owner → the command → the ledger
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from indexer.enforce.ledger import Ledger
from indexer.errors import IndexerError
from indexer.index.queries import Reader
from indexer.index.unit_queries import due_units
from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.decide import Keep, too_young
from indexer.policy.evict import evict
from indexer.policy.notices import Notice, goes_at, holds_for
from indexer.policy.quota import Demand, Used
from indexer.policy.reasons import Reason
from indexer.policy.units import decide_unit, evict_units, files_in
from indexer.records import NEVER, Unit
from indexer.reports.holdings import holdings
from indexer.service.notifying import document, run_command
from indexer.service.planning import UnitBlockers, attributes_of, blockers_of, files_of
from indexer.units import count, format_size, format_time, show_text, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.config.model import Config
    from indexer.policy.decide import Blockers
    from indexer.policy.units import Going
    from indexer.records import IndexedFile
    from indexer.rules import Rule
    from indexer.store import Store

log = logging.getLogger(__name__)

PART = 10_000
"""Files that are gathered before anybody is told of them: what a notice can name, and what is in memory at once."""
PRUNED = 10_000
"""Notices of the past that are looked at each time, whether their files are still there."""
PAST = 7 * 86_400
"""Seconds after which a notice of what could have gone is looked at."""
FIRST_TRY, LAST_TRY = 60, 3600
"""Seconds until a command that failed is tried again: doubling from the first to the last."""
LOOK = 60.0
"""Seconds between two looks of a service at what will be due."""
KEY = "notify"
"""In the ledger's meta: how the last try went."""


@dataclass(frozen=True, slots=True)
class Coming:
    """One file that will go, and of which nobody has been told."""

    rule: Rule
    file: IndexedFile
    clock_at: int
    expires_at: int | None
    reason: str


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
    for part in _parts(config, reader, ledger, now):
        for key, group in _groups(config.notify.by, part).items():
            if stop():
                return Told(files, notices)
            told = _notice(store, config.notify.by, key, group, int(clock()))
            error = run_command(config.notify, told)
            if error is not None:
                _failed(ledger, state, error, int(clock()))
                log.warning("a notice of %d files is not published: %s", len(group), error)
                return Told(files, notices, error)
            ledger.add_notices(_said(one, int(clock())) for one in group)
            files, notices = files + len(group), notices + 1
    if state["failures"]:
        ledger.note(KEY, json.dumps({**state, "failures": 0, "error": None, "next_try": None}))
    if files:
        log.info("%d files named in %d notices", files, notices)
    return Told(files, notices)


# What will go


def coming(
    config: Config, reader: Reader, ledger: Ledger, rule: Rule, now: int, since: int | None = None
) -> Iterator[Coming]:
    """Yield what goes from a class until `now` + warn_before (Unix seconds) and was not named; oldest clock first.

    `since` is the clock to go on from. Costs what will be due, not what there is.
    """
    horizon = now + (rule.warn_before or 0)
    protection = ledger.protection(now)
    blockers = blockers_of(reader, protection, attributes_of(config, now))
    clock = compile_clock(rule)
    if rule.unit == "child":
        yield from _units(reader, ledger, rule, horizon, UnitBlockers(reader, protection, config.guards), blockers)
        return
    if rule.ttl is not None:
        for file in reader.due(rule.name, horizon - rule.ttl, since):
            at = file_clock(clock, file)
            if at + rule.ttl >= horizon or blockers(file) is not None or too_young(rule, file, horizon) is not None:
                continue
            if not holds_for(ledger.notice(file.path), rule, file, at):
                yield Coming(rule, file, at, at + rule.ttl, Reason.EXPIRED)
    if rule.evicts:
        yield from _evicted(reader, ledger, rule, horizon, blockers)


def _units(
    reader: Reader,
    ledger: Ledger,
    rule: Rule,
    horizon: int,
    against: Callable[[Unit], Unit],
    blockers: Blockers,
) -> Iterator[Coming]:
    """Yield the files of children that go whole until `horizon`: each one is named, and one that is new waits for all.

    What is past its ttl by then, and what would have to go for the class's quota after that.
    """
    going = Demand(0, 0)
    seen: set[bytes] = set()

    def named(whole: Going, reason: str) -> Iterator[Coming]:
        clock = compile_clock(rule)
        for one in files_in(whole):
            going.take(one.file)
            at = file_clock(clock, one.file)
            if not holds_for(ledger.notice(one.file.path), rule, one.file, at):
                yield Coming(rule, one.file, at, one.expires_at, reason)

    for unit in due_units(reader, rule, horizon - rule.ttl) if rule.ttl is not None else ():
        found = decide_unit(rule, against(unit), now=horizon, blockers=blockers)
        if found is not None and not isinstance(found, Keep):
            seen.add(unit.path)
            yield from named(found, Reason.EXPIRED)
    for holding in holdings(reader, [rule]) if rule.evicts else ():
        per_child = holding.child is not None
        if holding.child in seen:
            continue
        need = holding.over(Used() if per_child else Used(-going.files, -going.allocated))
        if need is None:
            continue
        units = files_of(reader, holding, against)
        for whole in evict_units(
            rule, need, (one for one in units if isinstance(one, Unit)), now=horizon, blockers=blockers
        ):
            yield from named(whole, Reason.QUOTA)


def _evicted(reader: Reader, ledger: Ledger, rule: Rule, horizon: int, blockers: Blockers) -> Iterator[Coming]:
    """Yield what would have to go for the class's quota, after what is past its ttl by then."""
    clock = compile_clock(rule)
    for holding in holdings(reader, [rule]):
        if holding.over() is None:
            continue
        going = Demand(0, 0)
        if rule.ttl is not None:
            for file in reader.due(rule.name, horizon - rule.ttl):
                child = rule.child_of(file.directory) if holding.child is not None else None
                if child == holding.child and file_clock(clock, file) + rule.ttl < horizon and blockers(file) is None:
                    going.take(file)
        need = holding.over(Used(-going.files, -going.allocated))
        if need is None:
            continue
        files = files_of(reader, holding, lambda unit: unit)
        for found in evict(
            rule, need, (one for one in files if not isinstance(one, Unit)), now=horizon, blockers=blockers
        ):
            if found.file.clock != NEVER and not holds_for(
                ledger.notice(found.file.path), rule, found.file, found.clock_at
            ):
                yield Coming(rule, found.file, found.clock_at, found.expires_at, Reason.QUOTA)


def _parts(config: Config, reader: Reader, ledger: Ledger, now: int) -> Iterator[list[Coming]]:
    """Yield what is to be told in parts; no query is open while a part is told."""
    part: list[Coming] = []
    for rule in config.classes:
        if rule.warn_before is None:
            continue
        since: int | None = None
        while True:
            found = coming(config, reader, ledger, rule, now, since)
            more = False
            for one in found:
                part.append(one)
                if len(part) >= PART:
                    more = True
                    break
            if not more:
                break
            last = part[-1]
            since = last.file.clock if last.reason == Reason.EXPIRED else NEVER
            del found
            yield part
            reader.forget()
            part = []
    if part:
        yield part


# What is said of it


def _groups(by: str, part: list[Coming]) -> dict[tuple[Any, ...], list[Coming]]:
    groups: dict[tuple[Any, ...], list[Coming]] = {}
    for one in part:
        if by == "owner":
            key: tuple[Any, ...] = (one.file.uid,)
        elif by == "child":
            key = (one.rule.name, one.rule.child_of(one.file.directory))
        else:
            key = (one.rule.name,)
        groups.setdefault(key, []).append(one)
    return groups


def _notice(store: Store, by: str, key: tuple[Any, ...], group: list[Coming], now: int) -> dict[str, Any]:
    """Return the document of one notice, to be published at `now` (Unix seconds)."""
    actions = [_action(one, now) for one in group]
    first = min(action["goes_at"] for action in actions)
    allocated = sum(one.file.allocated if one.file.charged else 0 for one in group)
    whose: dict[str, Any] = {"class": None, "child": None, "uid": None, "owner": None}
    if by == "owner":
        whose |= {"uid": key[0], "owner": _user_name(key[0])}
        of = f"of {whose['owner'] or key[0]}"
    else:
        whose["class"] = key[0]
        of = f"of class {key[0]}"
        if by == "child":
            whose["child"] = None if key[1] is None else text_of(key[1])
            of += "" if key[1] is None else f" in {show_text(whose['child'])}"
    message = f"{store.root}: {count(len(group))} {of} ({format_size(allocated)}) go from {format_time(first)} on"
    return document(
        store,
        "expiring",
        now,
        message,
        by=by,
        **whose,
        files=len(group),
        bytes=sum(one.file.size for one in group),
        allocated=allocated,
        goes_from=first,
        goes_until=max(action["goes_at"] for action in actions),
        actions=actions,
    )


def _action(one: Coming, now: int) -> dict[str, Any]:
    path = text_of(one.file.path)
    exact = {} if path.encode("utf-8") == one.file.path else {"path_bytes": one.file.path.hex()}
    return {
        "path": path,
        **exact,
        "class": one.rule.name,
        "bytes": one.file.size,
        "allocated": one.file.allocated,
        "uid": one.file.uid,
        "action": one.rule.action,
        "reason": str(one.reason),
        "clock_at": one.clock_at,
        "expires_at": one.expires_at,
        "goes_at": goes_at(one.rule, one.expires_at, now),
    }


def _user_name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _said(one: Coming, published: int) -> Notice:
    return Notice(
        one.file.path,
        one.rule.name,
        published,
        goes_at(one.rule, one.expires_at, published),
        one.clock_at,
        one.file.identity,
        str(one.reason),
    )


# How it went


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


class Noticer:
    """Publishes the notices of a service while it is entered: no run has to wait for a command."""

    def __init__(
        self, store: Store, *, ready: Callable[[], bool] = lambda: True, clock: Callable[[], float] = time.time
    ) -> None:
        """`ready` says whether the index may be gone by."""
        self._store = store
        self._ready = ready
        self._clock = clock
        self._trouble = ""
        self._stop = threading.Event()
        self._poked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after the command that runs just now."""
        self._stop.set()
        self._poked.set()
        self._thread.join()

    def adopt(self, store: Store) -> None:
        """From now on by this policy: a shorter ttl wants notices at once."""
        self._store = store
        self._poked.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._poked.wait(LOOK if self._ready() else 1.0)
            self._poked.clear()

    def look(self) -> Told:
        """Publish what is to be told now."""
        store = self._store
        if not wants_notices(store.config) or not self._ready():
            return Told()
        try:
            with Reader.open(store.index_path) as reader, Ledger.open(store.ledger_path) as ledger:
                told = publish_notices(store, reader, ledger, self._clock, stop=self._stop.is_set)
        except (IndexerError, OSError) as error:
            self._say(str(error))
            return Told(failed=str(error))
        except Exception as error:
            log.exception("publishing notices failed")  # the edge: the service lives on
            return Told(failed=str(error))
        self._trouble = ""
        return told

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("notices are not published: %s", show_text(trouble))
        self._trouble = trouble
