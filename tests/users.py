"""The command line as another user, in a child of this process.

Interpreters and checkouts often lie where others may not go (`/root`, a home), so everything is imported before the
rights are dropped.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import indexer
from indexer.cli.main import run
from tests.capabilities import require

NOBODY = 65534
CLONE_NEWUSER = 0x10000000
_ALSO = ("difflib", "humanize", "pwd", "pytimeparse.timeparse", "tomlkit", "traceback", "uuid")
"""What the program imports when it needs it."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    code: int
    stdout: str
    stderr: str


def run_as(uid: int, *argv: str, environ: Mapping[str, str] | None = None) -> Done:
    """Run one command line as user `uid`, without any capability, in `/` and with an environment of its own."""
    require("CAP_SYS_ADMIN")
    for module in pkgutil.walk_packages(indexer.__path__, "indexer."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _ALSO:
        importlib.import_module(name)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(uid, dict(environ or {}), out.fileno(), err.fileno(), argv)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return Done(code, *texts)


def _become(uid: int, environ: Mapping[str, str], out: int, err: int, argv: tuple[str, ...]) -> None:
    """Drop every right, run, and leave without any clean-up that belongs to the parent."""
    code = 99
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir("/")
        os.environ.clear()
        os.environ.update({"HOME": "/nonexistent", **environ})
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        code = run(list(argv))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def do_as(uid: int, work: Callable[[], None]) -> None:
    """Let `work` run as user `uid`, without any capability, in a child of this process; it fails as `work` does."""
    require("CAP_SYS_ADMIN")

    def become() -> None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    do_after(become, work)


def do_within(limits: Mapping[str, int], work: Callable[[], None]) -> None:
    """Let `work` run in a user namespace of its own, as its root, under `limits` (names in /proc/sys/user)."""
    require("CAP_SYS_ADMIN")

    def become() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "unshare")
        for name, value in (
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/uid_map", "0 0 1"),
            ("/proc/self/gid_map", "0 0 1"),
            *((f"/proc/sys/user/{name}", str(limit)) for name, limit in limits.items()),
        ):
            with open(name, "w", encoding="ascii") as file:
                file.write(value)

    do_after(become, work)


def do_after(become: Callable[[], None], work: Callable[[], None]) -> None:
    """Let `work` run in a child that has become something else before; it fails as `work` does."""
    with tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                become()
                work()
                code = 0
            except BaseException:  # noqa: BLE001 - the parent is told, whatever it was
                os.write(err.fileno(), traceback.format_exc().encode())
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        err.seek(0)
        assert code == 0, err.read().decode()
