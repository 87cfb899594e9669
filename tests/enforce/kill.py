"""`kill -9` on either side of any system call: the work runs in a child that is traced (ptrace(2)).

A process that dies between two system calls leaves exactly what the first of them left, so the points after every
call, each of which is the one before the next, are all the points there are, those inside SQLite's commits included.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_SYSGOOD, _EXITKILL = 0x1, 0x100000
_STOPPED = signal.SIGTRAP | 0x80

TRACES = sys.platform == "linux"
"""ptrace(2) has the shape that is used here; one's own children may be traced without any capability."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

_LOOKS = {
    "x86_64": {
        0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 20, 23, 24, 25, 28, 32, 33, 35, 39, 41, 42, 63, 72, 73,
        79, 89, 96, 99, 102, 104, 107, 108, 110, 128, 131, 137, 138, 186, 201, 202, 217, 228, 229, 230, 231, 234, 262,
        267, 302, 318, 332, 334, 437,
    },
}  # fmt: skip
"""Calls that leave nothing behind when the process dies: memory, signals, clocks, reads and stats, locks and leases,
and openat2, which here only opens directories. On other machines every call counts."""


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info (Linux ≥ 5.3), its beginning."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
        ("more", ctypes.c_uint64 * 2),
    )


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def killed_at(point: int, work: Callable[[T], object], subject: T) -> bool:
    """Do `work(subject)` in a child that is killed at its `point`-th point (from 1); False when it ends before that.

    Points are before the first system call that can change anything, and after each: that is also before the next,
    since what a dead process had in its memory does not matter.
    """
    child = os.fork()
    if child == 0:
        try:
            _ptrace(_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            work(subject)
            os._exit(0)
        finally:
            os._exit(2)
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, 0, _SYSGOOD | _EXITKILL)
    harmless = _LOOKS.get(platform.machine(), set())
    info = _Info()
    deliver, number, begun = 0, 0, False
    while True:
        _ptrace(_SYSCALL, child, 0, deliver)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the work failed"
            return False
        assert os.WIFSTOPPED(status), status
        deliver = os.WSTOPSIG(status)
        if deliver != _STOPPED:
            continue
        deliver = 0
        _ptrace(_SYSCALL_INFO, child, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == 1:  # entry; an exit does not say of what
            number = info.number
        if number in harmless or (info.op == 1 and begun):
            continue
        begun = True
        point -= 1
        if point == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
