"""Who a run is recorded under."""

from __future__ import annotations

import os


def current_user() -> str:
    """Return the effective user, by name where the name is known."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return str(os.geteuid()) if hasattr(os, "geteuid") else os.environ.get("USERNAME", "")
