"""Who is at the other end of a socket (SO_PEERCRED, unix(7)), and what a peer may ask for."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Literal

from indexer.errors import ServiceError
from indexer.units import user_name

Level = Literal["read", "protect", "remove", "restore", "owner"]
"""What an operation needs; all but `owner` are words of `[service] allow`."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A process, as the kernel saw it when it connected (or, for a client, when the service began to listen)."""

    pid: int
    uid: int

    @property
    def owner(self) -> bool:
        """Root, or the user of this process: who may open the databases anyhow."""
        return self.uid in {0, os.geteuid()}

    @property
    def name(self) -> str:
        """The user's name, or number where there is none."""
        return user_name(self.uid)


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected. Where no kernel tells (not Linux), the directory's mode 0700 has let only the owner in."""
    if not hasattr(socket, "SO_PEERCRED"):
        return Peer(0, os.geteuid())
    pid, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return Peer(pid, uid)


def check_peer(peer: Peer, level: Level, allow: frozenset[str]) -> None:
    """Refuse what this peer may not ask for; `allow` is `[service] allow`, empty at the private socket."""
    if peer.owner or level in allow:
        return
    if not allow:
        raise ServiceError(
            f"user {peer.uid} may not command this service", remedy="ask as root or as the service's user"
        )
    if level == "owner":
        raise ServiceError("only root and the service's own user may do this", remedy="ask one of them")
    raise ServiceError(
        f"the service lets {peer.name} not {level}: [service] allow = {', '.join(sorted(allow))}",
        remedy=f'ask its owner to add "{level}" to allow of [service], or to do it',
    )
