"""`python lacking.py SYSTEM …`: the program in a process from which everything is taken that SYSTEM does not have.

A stand-in: it shows that nothing of Linux is needed where the program says so, and nothing of the other system itself.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import fcntl
import importlib.abc
import io
import logging.handlers
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import apscheduler.schedulers.background
import click
import psutil
import rich.console

LOADED = (asyncio, click, logging.handlers, multiprocessing, subprocess, apscheduler, rich)
"""Loaded before: these libraries choose their own ways by `sys.platform`, and must find the real one."""

LINUX: dict[Any, str] = {
    os: "O_PATH O_TMPFILE O_NOATIME pipe2 memfd_create MFD_CLOEXEC eventfd EFD_CLOEXEC EFD_NONBLOCK getxattr setxattr"
    " listxattr removexattr posix_fallocate posix_fadvise setresuid setresgid copy_file_range splice fdatasync"
    " sched_getaffinity sched_setaffinity pidfd_open",
    fcntl: "F_SETLEASE F_GETLEASE F_NOTIFY F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_SETSIG F_GETSIG F_OFD_SETLK",
    time: "CLOCK_BOOTTIME CLOCK_TAI",
    select: "epoll",
    signal: "sigtimedwait sigwaitinfo SIGRTMIN SIGRTMAX",
    socket: "SO_PEERCRED AF_NETLINK SOCK_CLOEXEC SOCK_NONBLOCK",
    psutil: "IOPRIO_CLASS_IDLE IOPRIO_CLASS_NONE",
    psutil.Process: "ionice",
}
"""Names that CPython has on Linux alone."""

CALLS = (
    "syscall inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark name_to_handle_at"
    " open_by_handle_at statx syncfs renameat2 openat2 gettid"
)
"""What the C library has on Linux alone."""

POSIX = frozenset({"fcntl", "grp", "pwd", "resource", "termios"})
POSIX_NAMES = (
    "O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK geteuid getuid fstatvfs statvfs pread pwrite readv writev fchmod"
    " fchown chown sync mkfifo major minor makedev"
)


def take_linux() -> None:
    """Leave what macOS has."""
    for holder, names in LINUX.items():
        for name in names.split():
            if hasattr(holder, name):
                delattr(holder, name)
    process_files(builtins, "open")
    process_files(io, "open")
    process_files(os, "open")
    process_files(os, "readlink")
    ctypes.CDLL = SmallerLibrary  # type: ignore[misc]


def take_posix() -> None:
    """Leave what Windows has."""
    take_linux()
    for name in POSIX_NAMES.split():
        if hasattr(os, name):
            delattr(os, name)
    for module in POSIX:
        sys.modules.pop(module, None)
    sys.meta_path.insert(0, NoSuchModule())


class SmallerLibrary(ctypes.CDLL):
    """A C library without Linux's own calls."""

    def __getattr__(self, name: str) -> Any:
        if name in CALLS.split():
            raise AttributeError(name)
        return super().__getattr__(name)


class NoSuchModule(importlib.abc.MetaPathFinder):
    """Says that there are no POSIX modules."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Refuse a module."""
        if fullname in POSIX:
            raise ModuleNotFoundError(fullname)


def process_files(holder: Any, name: str) -> None:
    """Replace a function by one for which there is no /proc and no /sys."""
    real: Callable[..., Any] = getattr(holder, name)

    def without(path: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "no such file on this system", path)
        return real(path, *args, **kwargs)

    setattr(holder, name, without)


if __name__ == "__main__":
    system = sys.argv.pop(1)
    {"darwin": take_linux, "win32": take_posix}[system]()
    sys.platform = system
    from indexer.__main__ import main

    main()
