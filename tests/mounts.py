"""Filesystems of the test's own, mounted below a temporary directory and gone afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.capabilities import require

KINDS = ("tmpfs", "ext4", "xfs", "btrfs", "overlay")

_MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}
_SMALLEST = {"ext4": 64, "xfs": 320, "btrfs": 256}
"""MiB; mkfs.xfs refuses less than 300, btrfs less than 114."""


def needs_of(kind: str) -> tuple[str, ...]:
    """Return what mounting `kind` needs, in the words of `capabilities.missing`."""
    needed: tuple[str, ...] = ("CAP_SYS_ADMIN", f"fs:{kind}")
    return (*needed, "loop", _MAKE[kind][0]) if kind in _MAKE else needed


@contextmanager
def mounted(kind: str, scratch: Path, *, size: int = 64, options: str = "", inodes: int = 0) -> Iterator[Path]:
    """Mount an empty filesystem of `kind` below the directory `scratch` and unmount it at the end.

    `size` is in MiB (raised to the smallest the kind can have), `options` go to mount, `inodes` to mkfs.ext4 or tmpfs
    (0: as many as usual). The image of ext4, xfs and btrfs is a sparse file beside the mount point. Skips, with the
    reason, where it cannot.
    """
    require(*needs_of(kind))
    target = scratch / f"{kind}-{len(os.listdir(scratch))}"
    target.mkdir()
    _mount(kind, target, size=size, options=options, inodes=inodes)
    try:
        yield target
    finally:
        unmount(target)


def _mount(kind: str, target: Path, *, size: int, options: str, inodes: int) -> None:
    extra = [options] if options else []
    if kind == "tmpfs":
        limits = [f"size={size}m", f"nr_inodes={inodes}", "mode=755"]
        _run("mount", "-t", "tmpfs", "-o", ",".join(limits + extra), "tmpfs", os.fspath(target))
    elif kind == "overlay":
        layers = {name: target.with_name(f"{target.name}-{name}") for name in ("lower", "upper", "work")}
        for layer in layers.values():
            layer.mkdir()
        chosen = [f"lowerdir={layers['lower']}", f"upperdir={layers['upper']}", f"workdir={layers['work']}", *extra]
        _run("mount", "-t", "overlay", "-o", ",".join(chosen), "overlay", os.fspath(target))
    else:
        image = target.with_name(f"{target.name}.img")
        with open(image, "wb") as stream:
            stream.truncate(max(size, _SMALLEST[kind]) * 2**20)
        count = ["-N", str(inodes)] if inodes and kind == "ext4" else []
        _run(*_MAKE[kind], *count, os.fspath(image))
        _run("mount", "-o", ",".join(["loop", *extra]), os.fspath(image), os.fspath(target))


def bind(source: Path, target: Path) -> None:
    """Make `source` appear at the existing directory `target` as well; undo it with `unmount`."""
    require("CAP_SYS_ADMIN")
    _run("mount", "--bind", os.fspath(source), os.fspath(target))


def unmount(target: Path) -> None:
    """Unmount `target`; if somebody still has a file open there, detach it, so that the machine is left clean."""
    plain = subprocess.run(["umount", os.fspath(target)], capture_output=True, text=True, check=False)
    if plain.returncode:
        _run("umount", "--lazy", os.fspath(target))


def _run(*argv: str) -> None:
    environment = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        message = f"{' '.join(argv)}: {done.stderr.strip()}"
        raise OSError(message)
