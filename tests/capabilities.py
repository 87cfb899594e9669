"""What this machine can do; a test that needs more is skipped by the name of what is missing."""

from __future__ import annotations

import os
import shutil

import pytest

_BITS = {"CAP_CHOWN": 0, "CAP_DAC_READ_SEARCH": 2, "CAP_SYS_ADMIN": 21, "CAP_LEASE": 28}
"""Bit numbers of linux/capability.h."""


def missing(*needed: str) -> str | None:
    """Return what of `needed` is missing here, None when all is there.

    A need is a capability (`CAP_SYS_ADMIN`), a filesystem (`fs:xfs`), a loop device (`loop`), or a program (`ffmpeg`).
    """
    return next((absent for need in needed if (absent := _missing(need))), None)


def needs(*needed: str) -> pytest.MarkDecorator:
    """Mark a test with what it needs beyond an unprivileged Linux."""
    absent = missing(*needed)
    return pytest.mark.skipif(absent is not None, reason=absent or "")


def require(*needed: str) -> None:
    """Skip the running test, for needs that are known only inside it."""
    if absent := missing(*needed):
        pytest.skip(absent)


def _missing(need: str) -> str | None:
    if need in _BITS:
        return None if _effective() >> _BITS[need] & 1 else f"needs {need}"
    if need == "loop":
        return None if os.path.exists("/dev/loop-control") else "needs loop devices (/dev/loop-control)"
    if need.startswith("fs:"):
        kind = need.removeprefix("fs:")
        with open("/proc/filesystems", encoding="ascii") as table:
            known = kind in table.read().split()
        return None if known else f"needs a kernel with {kind}"
    search = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return None if shutil.which(need, path=search) else f"needs the program {need}"


def _effective() -> int:
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    except FileNotFoundError:  # not Linux
        return 0
