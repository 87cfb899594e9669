"""The HTTP server of a store's service: its socket, its token, a thread of its own."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.config.listen import Address, read_address
from indexer.config.trust import read_trusted
from indexer.errors import UsageError
from indexer.service.control import opened_directory
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.config.model import HttpConfig
    from indexer.service.daemon import Service
    from indexer.store import Store

log = logging.getLogger(__name__)

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST_TOKEN = 16


@contextmanager
def http_server(
    store: Store,
    service: Service,
    config: HttpConfig,
    *,
    clock: Callable[[], float] = time.time,
    on_listening: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Answer HTTP while the block runs. `on_listening` gets where, once it is so.

    Raises UsageError for an address that cannot be had and a token that cannot be used, TrustError for a token file
    that others may write.
    """
    import uvicorn

    from indexer.service.web import View, application

    address = read_address(config.listen)
    token = _token(config)
    app = application(View(store, clock, service), token=token, hosts=_hosts(config, address))
    listener = _listen(address, config.listen)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_keep_alive=5
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="indexer-http", daemon=True)
    thread.start()
    try:
        on_listening(_shown(address, listener))
        yield
    finally:
        server.should_exit = True
        server.force_exit = True  # a client that reads slowly does not keep the service from ending
        thread.join()
        listener.close()
        if address.path is not None:
            place = Path(address.path)
            with suppress(FileNotFoundError), opened_directory(place.parent) as directory:
                os.unlink(place.name, dir_fd=directory)


def _hosts(config: HttpConfig, address: Address) -> frozenset[str] | None:
    named = frozenset(host.lower() for host in config.allowed_hosts)
    if address.path is not None:
        return named or None
    return named | (LOCAL_HOSTS if address.private else frozenset())


def _token(config: HttpConfig) -> str | None:
    """Return the token. Raises UsageError when there must be one and is none, or it is too short to be one."""
    if config.token_file is None:
        if not read_address(config.listen).private:
            raise UsageError(
                f"{config.listen} can be reached from elsewhere, and there is no token",
                remedy="write token_file and allowed_hosts in [http], or listen on 127.0.0.1",
            )
        return None
    try:
        content, seen = read_trusted(config.token_file)
    except OSError as error:
        raise UsageError(
            f"{show_text(str(config.token_file))}: {error.strerror}", remedy="write the token into it, mode 0600"
        ) from error
    token = content.decode("latin-1").strip()
    if stat.S_IMODE(seen.st_mode) & 0o004:
        raise UsageError(f"{show_text(str(config.token_file))} can be read by everybody", remedy="chmod 0600")
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"{show_text(str(config.token_file))} holds no token of at least {SHORTEST_TOKEN} plain letters",
            remedy="openssl rand -hex 32",
        )
    return token


def _listen(address: Address, text: str) -> socket.socket:
    try:
        return _unix(address.path) if address.path is not None else _tcp(address)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {show_text(text)}: {error.strerror or error}",
            remedy="choose another address in [http] listen, or stop who has it",
        ) from error


def _tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _unix(path: str) -> socket.socket:
    """Listen at `path`, mode 0660, in place of what a killed service left; a socket that answers is not replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        place = Path(path)
        with suppress(FileNotFoundError), opened_directory(place.parent) as directory:
            found = os.stat(place.name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISSOCK(found.st_mode) and not _answers(path):
                os.unlink(place.name, dir_fd=directory)
        before = os.umask(0o117)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
                return False
            raise
    return True


def _shown(address: Address, listener: socket.socket) -> str:
    if address.path is not None:
        return f"unix:{show_text(address.path)}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
