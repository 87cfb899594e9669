"""A store as its service shows it to those who may not open the databases: the same questions, over the socket."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import ServiceError, UsageError
from indexer.service.client import request
from indexer.service.control import LINE_LIMIT
from indexer.service.holding import PATIENCE, Lease
from indexer.service.sent import MOST_EXPLAINED, MOST_HELD
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from indexer.store import Store

log = logging.getLogger(__name__)

QUESTION_SECONDS = 300.0
"""How long a plan or a report may take: they are made one after another."""


@dataclass(frozen=True, slots=True)
class ToldAction:
    """One action of a plan that the service has made."""

    document: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it as it was told."""
        return dict(self.document)


@dataclass(frozen=True, slots=True)
class ToldPlan:
    """A plan that the service has made, to be shown like one of our own (`policy.plan.Plan`)."""

    document: Mapping[str, Any]

    @property
    def now(self) -> int:
        """The moment it is for, Unix seconds."""
        return int(self.document["at"])

    @property
    def actions(self) -> list[ToldAction]:
        """What would go."""
        return [ToldAction(action) for action in self.document["actions"]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what goes, as `plan --jsonl` shows it."""
        return iter(self.document["actions"])

    def as_json(self, *, shown: int | None = None) -> dict[str, Any]:
        """Return the document of `plan --json`; with `shown`, only so many of its actions."""
        return {**self.document, "actions": self.document["actions"][:shown]}


class Remote:
    """Asks the service of a store. Thread-safe: a connection a question."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def status(self) -> dict[str, Any]:
        """See `StorageManager.status`."""
        return request(self._store, "state")

    def scan(self, *, quick: bool, progress: Callable[[int, int], None]) -> dict[str, Any]:
        """See `StorageManager.scan`."""
        done = request(
            self._store,
            "scan",
            None,
            quick=quick,
            progress=lambda said: progress(int(said.get("seen", 0)), int(said.get("pending", 0))),
        )
        return {**done, **request(self._store, "figures")}

    def metrics(self) -> bytes:
        """See `StorageManager.metrics`."""
        return str(request(self._store, "metrics")["text"]).encode()

    def report(self, name: str, **options: Any) -> list[dict[str, Any]]:
        """See `StorageManager.report`."""
        chosen = {key: _plain(value) for key, value in options.items() if value is not None}
        rows: list[dict[str, Any]] = request(
            self._store, "report", QUESTION_SECONDS, name=name, options=chosen
        )["rows"]  # fmt: skip
        return rows

    def explain(self, paths: Sequence[bytes]) -> list[dict[str, Any]]:
        """See `StorageManager.explain_all`: in as many questions as the length of one allows."""
        found: list[dict[str, Any]] = []
        for some in _fitting(paths, MOST_EXPLAINED):
            found += request(self._store, "explain", QUESTION_SECONDS, paths=some)["paths"]
        return found

    def is_sorted_by_older_policy(self) -> bool:
        """See `StorageManager.is_sorted_by_older_policy`: not asked of a service."""
        return False

    def plan(self, *, class_name: str | None, under: bytes, at: int | None, scan: bool) -> ToldPlan:
        """See `StorageManager.make_plan`."""
        return ToldPlan(
            request(
                self._store,
                "plan",
                QUESTION_SECONDS,
                class_name=class_name,
                under=os.fsdecode(under),
                at=at,
                scan=scan,
            )
        )

    def trash(self) -> dict[str, Any]:
        """See `StorageManager.trash_list`."""
        return request(self._store, "trash")

    def fresh(self, age: int) -> str | None:
        """See `StorageManager.fresh`."""
        why = request(self._store, "fresh", age=age)["why"]
        return None if why is None else str(why)

    def run(
        self,
        kind: str,
        *,
        progress: Callable[[int], None] | None,
        override: str | None,
        plan_file: object,
        under: bytes,
        if_stale: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """See `StorageManager.run_cleanup`. Raises UsageError for what only the service's own user may ask for."""
        del if_stale
        if override is not None or plan_file is not None:
            what = "a guard is set aside" if override is not None else "a written plan is carried out"
            raise UsageError(f"{what} by the service's own user only", remedy="run it as that user, or as root")
        tell = progress or (lambda _done: None)
        return request(
            self._store,
            "run",
            None,
            progress=lambda said: tell(int(said.get("done", 0))),
            kind=kind,
            under=os.fsdecode(under),
            **options,
        )

    def hold(
        self, paths: Sequence[bytes], *, until: int | None, reason: str, by: str = "", glob: bool = False
    ) -> list[dict[str, Any]]:
        """See `StorageManager.hold`; the hold bears the name of this process's user, whoever `by` is."""
        del by
        held: list[dict[str, Any]] = []
        for some in _fitting(paths, MOST_HELD):
            held += request(
                self._store, "hold", PATIENCE * 2, paths=some, until=until, reason=reason, glob=glob
            )["holds"]  # fmt: skip
        return held

    def release(self, paths: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """See `StorageManager.release`."""
        left: list[dict[str, Any]] = []
        nothing: list[bytes] = []
        for some in _fitting(paths, MOST_HELD):
            answer = request(self._store, "release", paths=some)
            left = answer["holds"]
            nothing += [os.fsencode(path) for path in answer["nothing"]]
        return left, nothing

    def lease(self, path: bytes, *, ttl: int, holder: str) -> Lease:
        """See `StorageManager.lease`."""
        return RemoteLease(self._store, path, ttl=ttl, holder=holder, clock=self._clock)

    def restore(
        self, paths: Sequence[bytes], *, run: int | None, to: object, dry_run: bool, wait: float
    ) -> dict[str, Any]:
        """See `StorageManager.restore`. Raises UsageError for another place: the service writes only to their own."""
        if to is not None:
            raise UsageError(
                "over the socket files come back to their own places only",
                remedy="leave `to` out, or restore as the service's user",
            )
        if dry_run:  # an operation of its own: an older service would not know of `dry_run`, and restore
            return request(self._store, "would_restore", QUESTION_SECONDS, paths=_texts(paths), run=run)
        return request(self._store, "restore", None, paths=_texts(paths), run=run, wait=wait)


class RemoteLease(Lease):
    """A lease that the service keeps."""

    def _take(self) -> int:
        answer = request(self._store, "lease", PATIENCE * 2, path=os.fsdecode(self._path), ttl=self._ttl)
        return int(answer["lease"])

    def renew(self) -> bool:
        """Move the end to a whole ttl from now; False when the lease was lost (it ran out while nobody renewed)."""
        return bool(request(self._store, "renew", lease=self._id, ttl=self._ttl)["held"])

    def _give_back(self) -> None:
        try:
            request(self._store, "end_lease", lease=self._id)
        except ServiceError as error:  # what was protected is done with; at its ttl the lease ends by itself
            log.warning("a lease was not given back: %s", show_text(error.message))


def _fitting(paths: Iterable[bytes], most: int) -> Iterator[list[str]]:
    """Yield the paths, as texts, in parts of at most `most` that one question holds."""
    part: list[str] = []
    left = LINE_LIMIT - 1000
    for text in _texts(paths):
        size = len(json.dumps(text)) + 2
        if part and (size > left or len(part) == most):
            yield part
            part, left = [], LINE_LIMIT - 1000
        part.append(text)
        left -= size
    if part:
        yield part


def _texts(paths: Iterable[bytes]) -> list[str]:
    return [os.fsdecode(path) for path in paths]


def _plain(value: Any) -> Any:
    return os.fsdecode(value) if isinstance(value, bytes) else value
