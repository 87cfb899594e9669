"""Job stores that several processes share: where APScheduler keeps them, and what is believed of what lies there.

APScheduler stores pickles, and whoever may write to a Redis may leave one that runs anything. Only its own triggers,
dates and zones are unpickled here, and only a job that calls `schedule.fire` is a job.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from indexer.errors import UsageError
from indexer.units import show_text

FIRE = "indexer.service.schedule:fire"
"""The only function that a stored job may call, as APScheduler writes it."""

_KNOWN = {
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("zoneinfo", "ZoneInfo"),
    ("zoneinfo", "ZoneInfo._unpickle"),
    ("builtins", "getattr"),
}


class _Narrow(pickle.Unpickler):
    """Makes nothing but APScheduler's triggers, dates and zones."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return the class. Raises UnpicklingError for every other."""
        if (module_name, global_name) == ("builtins", "getattr"):
            return _zone_maker
        if (module_name, global_name) in _KNOWN:
            return super().find_class(module_name, global_name)
        if module_name.startswith("apscheduler.triggers.") and "." not in global_name:
            found = super().find_class(module_name, global_name)
            if isinstance(found, type) and found.__module__.startswith("apscheduler.triggers."):
                return found
        raise pickle.UnpicklingError(f"a stored job holds {module_name}.{global_name}")


def _zone_maker(of: object, name: str) -> Any:
    """Stand in for getattr, which old pickle protocols use to reach `ZoneInfo._unpickle`."""
    from zoneinfo import ZoneInfo

    if of is not ZoneInfo or name != "_unpickle":
        raise pickle.UnpicklingError("a stored job reaches for an attribute")
    return ZoneInfo._unpickle  # type: ignore[attr-defined]  # noqa: SLF001 - what a pickled zone names


def job_state(stored: bytes) -> dict[str, Any]:
    """Return the state of a stored job. Raises UnpicklingError for anything that this program would not have stored."""
    state = _Narrow(io.BytesIO(stored)).load()
    if not isinstance(state, dict) or state.get("func") != FIRE or state.get("executor") != "default":
        raise pickle.UnpicklingError("a stored job calls something else")
    return state


def open_jobstore(address: str, store_id: str) -> Any:
    """Return an APScheduler job store at `address`, with names of this store's own.

    Raises UsageError when its library is not installed or the address makes no sense to it.
    """
    try:
        if address.startswith(("redis://", "rediss://", "unix://")):
            return _redis(address, store_id)
        return _database(address, store_id)
    except ImportError as error:
        extra = "redis" if "redis" in address.partition("://")[0] else "sqlalchemy"
        raise UsageError(
            f"[schedule] jobstore needs {extra}, which is not installed",
            remedy=f"pip install {extra}, or leave jobstore out",
        ) from error
    except ValueError as error:
        raise UsageError(f"[schedule] jobstore: {show_text(str(error))}", remedy="correct the address") from error


def _redis(address: str, store_id: str) -> Any:
    from apscheduler.jobstores.redis import RedisJobStore
    from redis import ConnectionPool

    class Jobs(_Believing, RedisJobStore):  # type: ignore[misc]
        """Redis, read with care."""

    pool = ConnectionPool.from_url(address, socket_timeout=10, socket_connect_timeout=5)
    keys = {"jobs_key": f"indexer.{store_id}.jobs", "run_times_key": f"indexer.{store_id}.run_times"}
    return Jobs(connection_pool=pool, **keys)


def _database(address: str, store_id: str) -> Any:
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from sqlalchemy.exc import ArgumentError

    class Jobs(_Believing, SQLAlchemyJobStore):  # type: ignore[misc]
        """A database, read with care."""

    try:
        return Jobs(url=address, tablename=f"indexer_{store_id}")
    except ArgumentError as error:
        raise ValueError(str(error)) from error


class _Believing:
    """Overrides how both of APScheduler's stores make a job of what they have read."""

    _scheduler: Any
    _alias: str

    def _reconstitute_job(self, stored: bytes) -> Any:
        from apscheduler.job import Job

        job = Job.__new__(Job)
        job.__setstate__(job_state(stored))
        job._scheduler = self._scheduler  # noqa: SLF001 - what the overridden method does
        job._jobstore_alias = self._alias  # noqa: SLF001
        return job
