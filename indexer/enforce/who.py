"""Who did it: the name that a run bears in the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from indexer.units import user_name

_ASKED: ContextVar[str] = ContextVar("asked", default="")


def current_user() -> str:
    """Return who asked for what is done now, else the effective user, by name where the name is known."""
    if asked := _ASKED.get():
        return asked
    return user_name(os.geteuid()) if hasattr(os, "geteuid") else os.environ.get("USERNAME", "")


@contextmanager
def asked_by(name: str) -> Iterator[None]:
    """Let what this thread does inside bear the name of whoever asked a service for it."""
    token = _ASKED.set(name)
    try:
        yield
    finally:
        _ASKED.reset(token)
