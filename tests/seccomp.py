"""What a container engine's seccomp filter does, without an engine: `python tests/seccomp.py ARGV…`.

The filter refuses file handles and fanotify with EPERM, as Docker's default profile does or did for whoever lacks the
capabilities, and lets everything else pass (seccomp(2), BPF over struct seccomp_data).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300},
    "aarch64": {"name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262},
}
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse() -> None:
    """Put the filter in force for this process and all that it becomes."""
    numbers = [*NUMBERS[platform.machine()].values()]
    code = struct.pack("HBBI", LOAD, 0, 0, 0)
    for place, number in enumerate(numbers):
        code += struct.pack("HBBI", JUMP_IF_EQUAL, len(numbers) - place, 0, number)
    code += struct.pack("HBBI", RETURN, 0, 0, ALLOW) + struct.pack("HBBI", RETURN, 0, 0, EPERM)
    held = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(held, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what it is for
