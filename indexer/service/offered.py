"""What a service answers those who may not open its databases: each at the level that `[service] allow` names.

Paths travel relative to the root, as `os.fsdecode` writes them; JSON carries lone surrogates.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from indexer._version import __version__
from indexer.enforce.ledger import Ledger
from indexer.enforce.who import asked_by
from indexer.errors import ServiceError, UsageError
from indexer.service.control import PEER, Answer, Progress, operation
from indexer.service.holding import PATIENCE, as_json, hold, wait_until_free
from indexer.service.peer import Peer, check_peer
from indexer.service.planning import Scope
from indexer.service.priority import IdlePriority
from indexer.service.sent import MOST_EXPLAINED, path_sent
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indexer.service.daemon import Service
    from indexer.store import Store

_HEAVY = threading.Lock()
"""Plans and reports one after another: whoever may ask for them shall not be able to fill the service's memory."""
_HEAVY_SECONDS = 120.0
REPORTS = frozenset({"usage", "tiers", "quotas", "expiring", "largest", "stale", "growth", "runs", "holds"})
"""All but `drift`, which reads the tree."""
_REPORT_OPTIONS = frozenset({"class_name", "by", "top", "within", "under"})
LONGEST_TEXT = 1000


@operation("hello", "read")
def hello(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Say which store this is, and what the one who asks may do."""
    store, peer = _store(service), _peer(arguments)
    allow = store.config.service.allow
    may = ("read", "protect", "remove", "restore") if peer.owner else allow
    return {
        "id": store.id,
        "root": os.fspath(store.root),
        "mode": store.config.store.mode,
        "may": list(may),
        "version": __version__,
    }


@operation("state", "read")
def state(service: Service, _arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with the document of `status --json`."""
    from indexer.service.status import status

    return status(_store(service), service.clock())


@operation("figures", "read")
def figures(service: Service, _arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with what the index holds, as `scan --json` ends."""
    from indexer.service.once import figures as of_index

    return of_index(_store(service))


@operation("metrics", "read")
def metrics(service: Service, _arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with the Prometheus text."""
    from indexer.reports.tables import report
    from indexer.service.metrics import metrics_text
    from indexer.service.status import status

    store, now = _store(service), service.clock()
    return {"text": metrics_text(store, status(store, now), report(store, "usage", int(now))).decode()}


@operation("report", "read")
def rows(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with the rows of a report."""
    from indexer.reports.tables import report

    name, options = _text(arguments, "name"), arguments.get("options") or {}
    if name not in REPORTS or not isinstance(options, dict) or not options.keys() <= _REPORT_OPTIONS:
        raise UsageError(f"the service makes no report {show_text(name)} of this kind for others")
    if "under" in options:
        options = {**options, "under": path_sent(options["under"])}
    with _heavy():
        return {"rows": report(_store(service), name, int(service.clock()), **options)}


@operation("explain", "read")
def explained(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with `explain --json` of each path."""
    from indexer.service.explaining import explain

    paths = [path_sent(path) for path in _list(arguments, "paths")]
    if len(paths) > MOST_EXPLAINED:
        raise UsageError(f"the service explains at most {MOST_EXPLAINED} paths at once")
    return {"paths": explain(_store(service), paths, int(service.clock()), _heavy())}


@operation("plan", "read")
def planned(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with `plan --json`."""
    from indexer.service.preview import preview

    at = arguments.get("at")
    moment = None if at is None else _integer(arguments, "at")
    scan = bool(arguments.get("scan", True))
    with _heavy():
        return preview(_store(service), service.clock, _scope(arguments), at=moment, scan=scan).as_json(shown=None)


@operation("trash", "read")
def trash(service: Service, _arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Answer with `trash list --json`."""
    from indexer.service.trash import trash_document

    return trash_document(_store(service))


@operation("fresh", "read")
def is_fresh(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Say why a fallback has nothing to do."""
    from indexer.service.stale import fresh

    return {"why": fresh(_store(service), _integer(arguments, "age"), service.clock())}


@operation("hold", "protect")
def held(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Hold paths in the name of the one who asks."""
    until = arguments.get("until")
    found = hold(
        _store(service),
        [path_sent(path) for path in _list(arguments, "paths")],
        until=None if until is None else _integer(arguments, "until"),
        reason=_text(arguments, "reason", ""),
        by=_peer(arguments).name,
        clock=service.clock,
        glob=bool(arguments.get("glob")),
    )
    return {"holds": found}


@operation("release", "protect")
def released(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """End holds: anybody's for the owner, else only those in the name of the one who asks."""
    peer, paths = _peer(arguments), [path_sent(path) for path in _list(arguments, "paths")]
    with Ledger.open(_store(service).ledger_path) as ledger:
        now = service.clock()
        if not peer.owner:
            others = sorted({one.by for one in ledger.holds(now) if one.path in set(paths) and one.by != peer.name})
            if others:
                raise ServiceError(
                    f"{', '.join(map(show_text, others))} holds this; {peer.name} may end only holds of his own",
                    remedy="ask who holds it (indexer report holds), or the service's owner",
                )
        nothing = [path for path in paths if not ledger.release_hold(path)]
        return {
            "holds": [as_json(one) for one in ledger.holds(now)],
            "nothing": [os.fsdecode(path) for path in nothing],
        }


@operation("lease", "protect")
def leased(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Take a lease in the name of the one who asks; answers once no removal that covers the path is in flight."""
    peer, path, ttl, now = (
        _peer(arguments),
        path_sent(arguments.get("path")),
        _integer(arguments, "ttl"),
        service.clock(),
    )
    if ttl < 1:
        raise UsageError("a lease needs a ttl of at least a second")
    with Ledger.open(_store(service).ledger_path) as ledger:
        lease = ledger.add_lease(path, f"{peer.name}, process {peer.pid}", expires=int(now) + ttl, now=now)
        wait_until_free(ledger, path)
    return {"lease": lease}


@operation("renew", "protect")
def renewed(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Move the end of a lease of the one who asks; `held` is false when it was lost, or is another's."""
    peer, lease, ttl = _peer(arguments), _integer(arguments, "lease"), _integer(arguments, "ttl")
    with Ledger.open(_store(service).ledger_path) as ledger:
        mine = peer.owner or _holder(ledger, lease) == peer.name
        return {"held": mine and ledger.renew_lease(lease, expires=int(service.clock()) + ttl)}


@operation("end_lease", "protect")
def ended(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Give a lease back."""
    peer, lease = _peer(arguments), _integer(arguments, "lease")
    with Ledger.open(_store(service).ledger_path) as ledger:
        if peer.owner or _holder(ledger, lease) == peer.name:
            ledger.end_lease(lease)
    return {}


@operation("run", "read")
def ran(service: Service, arguments: Mapping[str, Any], progress: Progress) -> Answer:
    """Run `expire` or `cleanup` by the policy in force; a dry run is only looked at, all else needs `remove`."""
    from indexer.service.cleanup import run

    store, peer = _store(service), _peer(arguments)
    kind, dry_run = _text(arguments, "kind"), bool(arguments.get("dry_run"))
    if kind not in {"expire", "cleanup"}:
        raise UsageError(f"there is no run {show_text(kind)}")
    if not dry_run:
        check_peer(peer, "remove", frozenset(store.config.service.allow))
    gone = threading.Event()

    def tell(done: int) -> None:
        try:
            progress({"done": done})
        except OSError:
            gone.set()  # nobody waits for it any more: it ends after the files in hand, as Ctrl-C does

    IdlePriority(for_good=True).set(idle=True)
    with asked_by(peer.name):
        result = run(
            store,
            service.clock,
            _scope(arguments),
            kind=kind,
            dry_run=dry_run,
            scan=bool(arguments.get("scan", True)),
            wait=min(float(_integer(arguments, "wait", 0)), PATIENCE),
            stop=lambda: gone.is_set() or service.stopping,
            progress=tell,
        )
    document = result.as_json()
    if result.refused is not None:
        document["refusal"] = {"message": result.message, "remedy": result.remedy}
    return document


@operation("would_restore", "read")
def to_be_restored(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Say what `restore` would do."""
    from indexer.service.trash import would_restore_here

    paths = [path_sent(path) for path in _list(arguments, "paths")]
    number = None if arguments.get("run") is None else _integer(arguments, "run")
    with _heavy():
        return would_restore_here(_store(service), paths=paths, run=number)


@operation("restore", "restore")
def restored(service: Service, arguments: Mapping[str, Any], _progress: Progress) -> Answer:
    """Bring files back to their places, and nowhere else: the service would write there with rights of its own."""
    from indexer.service.trash import restore_here

    paths = [path_sent(path) for path in _list(arguments, "paths")]
    number = None if arguments.get("run") is None else _integer(arguments, "run")
    with asked_by(_peer(arguments).name):
        wait = min(float(_integer(arguments, "wait", 0)), PATIENCE)
        return restore_here(_store(service), service.clock, paths=paths, run=number, wait=wait)


# What was sent


def _store(service: Service) -> Store:
    """Return the store by the policy in force."""
    if service.reload is None:
        raise ServiceError("this service has no store to ask about")
    return service.reload.store


def _peer(arguments: Mapping[str, Any]) -> Peer:
    peer = arguments[PEER]
    if not isinstance(peer, Peer):
        raise TypeError("whoever answers a request says whose it is")
    return peer


@contextmanager
def _heavy() -> Iterator[None]:
    if not _HEAVY.acquire(timeout=_HEAVY_SECONDS):
        raise ServiceError("the service is busy with other questions", remedy="try again in a moment")
    try:
        yield
    finally:
        _HEAVY.release()


def _scope(arguments: Mapping[str, Any]) -> Scope:
    class_name, limit = arguments.get("class_name"), arguments.get("limit")
    return Scope(
        None if class_name is None else _text(arguments, "class_name"),
        path_sent(arguments.get("under") or ""),
        None if limit is None else _integer(arguments, "limit"),
    )


def _holder(ledger: Ledger, lease: int) -> str | None:
    holder = ledger.lease_holder(lease)
    return None if holder is None else holder.rpartition(", process ")[0]


def _text(arguments: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = arguments.get(key, default)
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise UsageError(f"{key} must be a text of at most {LONGEST_TEXT} letters")
    return value


def _integer(arguments: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = arguments.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**53:
        raise UsageError(f"{key} must be a number")
    return int(value)


def _list(arguments: Mapping[str, Any], key: str) -> list[Any]:
    value = arguments.get(key)
    if not isinstance(value, list):
        raise UsageError(f"{key} must be a list")
    return value
