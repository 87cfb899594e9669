"""systemd units of a store: the service, and the fallback that a timer starts. Text only; nothing is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from indexer.config.listen import read_address
from indexer.errors import UsageError
from indexer.service.shared import runtime_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.store import Store

CAPABILITIES = {
    "CAP_SYS_ADMIN": "fanotify: one mark for a whole filesystem; without it one inotify watch a directory",
    "CAP_DAC_READ_SEARCH": "list every directory, and find those that events name by their handles",
    "CAP_DAC_OVERRIDE": "remove from directories of other users",
    "CAP_FOWNER": "the same in sticky directories, and read without leaving an access time",
    "CAP_LEASE": "see whether somebody has a file of another user open; without it such files are kept",
}
"""What the service is left with of root's rights, and what each buys."""

WATCHDOG_SECONDS = 120
"""How long systemd waits for the next sign of life; it comes while the writer takes its turns and hears the canary."""


def unit_name(store: Store) -> str:
    """Return the name of the store's units, without suffix: `indexer-srv-media` (systemd.unit(5), path escaping)."""
    escaped = "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_.") else f"\\x{byte:02x}"
        for byte in store.root_bytes.strip(b"/").replace(b"/", b"\0")
    )
    return "indexer-" + escaped.replace("\\x00", "-")


def unit_files(store: Store, command: Sequence[str], *, user: str | None = None, age: str = "26h") -> dict[str, str]:
    """Return file name -> text: service, fallback and its timer.

    `command` runs `indexer`; `user` runs it without privileges, by inotify; `age` is how old the last cleanup may be.
    Raises UsageError for a path that no unit can hold.
    """
    name = unit_name(store)
    root = os.fspath(store.root)
    program = " ".join(quoted(word) for word in command)
    return {
        f"{name}.service": "\n".join(
            [
                "[Unit]",
                f"Description=indexer of {_escaped(root)}",
                "Documentation=man:systemd.exec(5)",
                f"RequiresMountsFor={quoted(root)}",
                "StartLimitIntervalSec=10min",
                "StartLimitBurst=5",
                "",
                "[Service]",
                "Type=notify",
                "NotifyAccess=main",
                f"ExecStart={program} watch {quoted(root)}",
                "ExecReload=kill -HUP $MAINPID",
                "Restart=on-failure",
                "RestartSec=5s",
                "TimeoutStartSec=infinity",
                f"WatchdogSec={WATCHDOG_SECONDS}s",
                "IOSchedulingClass=best-effort",
                "IOSchedulingPriority=6",
                *([f"RuntimeDirectory={_shared(store)}"] if store.config.service.shared else []),
                *_hardening(store, user),
                "",
                "[Install]",
                "WantedBy=multi-user.target",
                "",
            ]
        ),
        f"{name}-cleanup.service": "\n".join(
            [
                "[Unit]",
                f"Description=indexer of {_escaped(root)}: cleanup while its service is dead or not healthy",
                f"RequiresMountsFor={quoted(root)}",
                "",
                "[Service]",
                "Type=oneshot",
                f"ExecStart={program} --quiet -C {quoted(root)} cleanup --if-stale {quoted(age)} --yes",
                "SuccessExitStatus=5",
                "IOSchedulingClass=idle",
                *_hardening(store, user),
                "",
            ]
        ),
        f"{name}-cleanup.timer": "\n".join(
            [
                "[Unit]",
                f"Description=indexer of {_escaped(root)}: fallback",
                "",
                "[Timer]",
                "OnCalendar=hourly",
                "RandomizedDelaySec=10min",
                "Persistent=true",
                "",
                "[Install]",
                "WantedBy=timers.target",
                "",
            ]
        ),
    }


def quoted(text: str) -> str:
    """Quote one word for a unit: spaces, quotes, specifiers and variables. Raises UsageError for control characters."""
    if not text.isprintable():
        raise UsageError(f"{text!r} cannot stand in a unit", remedy="write the unit by hand, with an escaped path")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _hardening(store: Store, user: str | None) -> list[str]:
    root = os.fspath(store.root)
    private = not root.startswith(("/tmp/", "/var/tmp/"))  # noqa: S108 - what PrivateTmp would hide
    home = not root.startswith(("/home/", "/root/", "/run/user/"))
    rights = " ".join(CAPABILITIES) if user is None else ""
    return [
        *([f"User={user}"] if user is not None else []),
        "UMask=0077",
        "NoNewPrivileges=yes",
        f"CapabilityBoundingSet={rights}",
        "ProtectSystem=strict",
        *(f"ReadWritePaths={_writable(path)}" for path in _paths(store)),
        *(["ProtectHome=read-only"] if home else []),
        *(["PrivateTmp=yes"] if private else []),
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
    ]


def _shared(store: Store) -> str:
    """Return the directory below /run in which others look for the socket."""
    return runtime_directory(store.root_bytes).name


def _writable(path: str) -> str:
    return quoted(path).replace("$$", "$")


def _paths(store: Store) -> list[str]:
    """Return what the service writes to: tree and state, and where it publishes and listens."""
    config = store.config
    paths = [store.root, store.control, store.state]
    if config.publish is not None:
        paths.append(config.publish.path.parent)
    if config.http is not None and (socket := read_address(config.http.listen).path) is not None:
        paths.append(type(store.root)(os.path.dirname(os.path.abspath(socket))))
    if config.service.socket is not None:
        paths.append(config.service.socket.parent)
    found: list[str] = []
    for path in map(os.fspath, paths):
        if not any(path == other or path.startswith(other.rstrip("/") + "/") for other in found):
            found.append(path)
    return found
