"""A store's service as a whole: its lock, its control socket, its writer."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from indexer.config.model import HttpConfig
from indexer.service import offered, operations  # noqa: F401 - they register what the sockets answer
from indexer.service.alerts import Alerts
from indexer.service.control import ControlSocket
from indexer.service.daemon import Service
from indexer.service.full_disk import keep_ledger_ready
from indexer.service.http import http_server
from indexer.service.noticer import Noticer
from indexer.service.publish import Publisher
from indexer.service.quota_watch import QuotaWatch
from indexer.service.reload import Reload
from indexer.service.room_watch import RoomWatch
from indexer.service.sampling import Sampler
from indexer.service.schedule import Schedule
from indexer.service.session import open_session
from indexer.service.shared import shared_place
from indexer.service.trouble import clear_errors
from indexer.service.unfinished import settle_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.store import Store

LOCK_SECONDS = 1.0
"""How long a new service waits for one that is just stopping, or for somebody who only looks."""


def service_of(
    store: Store,
    *,
    backend: str | None = None,
    on_ready: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.time,
) -> Service:
    """Return the service of `store`, to be run by `serve`; `on_ready` is called once, in the writer's thread."""
    reload = Reload(store)
    return Service(
        lambda: open_session(reload.store, clock=clock, backend=backend), on_ready=on_ready, reload=reload, clock=clock
    )


def serve(
    store: Store,
    service: Service,
    *,
    clock: Callable[[], float] = time.time,
    schedule: bool = True,
    http: str | None = None,
    on_listening: Callable[[str], None] = lambda _: None,
    scheduler: Any = None,
) -> None:
    """Hold the store's lock, answer its control socket, and bring what happens into its index, until `service.stop`.

    The configuration's schedule runs beside it, unless `schedule` is False, and its HTTP, at `http` if that is given;
    `on_listening` gets where. `scheduler` is an APScheduler of the application's that the schedule joins.
    Where `[service]` says so, a second socket answers others.
    Raises BusyError when another service or scan holds the store, and whatever waiting cannot mend.
    """
    with clear_errors(store), store.service_lock(LOCK_SECONDS), ControlSocket(store.control, service):
        keep_ledger_ready(store)  # while there is room for it
        settle_unfinished(store, clock)  # before the watcher listens: what it puts back is found by the first pass
        with ExitStack() as stack:
            place = stack.enter_context(shared_place(store))
            if place is not None:
                stack.enter_context(ControlSocket(place, service, allow=frozenset(store.config.service.allow)))
            followers: list[Callable[[Store], None]] = []
            if service.reload is not None:
                service.reload.on_change = lambda new: _tell(followers, new)
            sampler = Sampler(store, ready=lambda: service.board.snapshot.ready, clock=clock)
            followers.append(stack.enter_context(sampler).adopt)
            followers.append(stack.enter_context(Alerts(store, service, clock=clock)).adopt)
            if schedule:
                noticer = Noticer(store, ready=lambda: service.board.snapshot.ready, clock=clock)
                followers.append(stack.enter_context(noticer).adopt)
                quotas = QuotaWatch(store, ready=lambda: service.board.snapshot.ready, clock=clock)
                service.on_change = stack.enter_context(quotas).poke
                followers.append(quotas.adopt)
                room = RoomWatch(store, ready=lambda: service.board.snapshot.ready, clock=clock)
                followers.append(stack.enter_context(room).adopt)
            if schedule and store.config.schedule.jobs():
                timetable = stack.enter_context(Schedule(store, service, clock=clock, scheduler=scheduler))
                service.jobs = timetable.rows
                followers.append(timetable.adopt)
            if (publication := store.config.publish) is not None:
                publisher = stack.enter_context(Publisher(store, service, publication, clock=clock))
                scheduled = service.jobs
                service.jobs = lambda: [*scheduled(), publisher.row()]
            if (web := _http(store, http)) is not None:
                stack.enter_context(http_server(store, service, web, clock=clock, on_listening=on_listening))
            service.run()


def _tell(followers: list[Callable[[Store], None]], store: Store) -> None:
    """Let everybody beside the writer go by a changed policy."""
    for follow in followers:
        follow(store)


def _http(store: Store, listen: str | None) -> HttpConfig | None:
    """Return the configuration of HTTP; a flag overrides the address, and leaves token and hosts."""
    configured = store.config.http
    if listen is None:
        return configured
    return HttpConfig(listen) if configured is None else replace(configured, listen=listen)
