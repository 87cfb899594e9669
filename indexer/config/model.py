"""What a configuration is once it has been read: frozen values, durations in seconds, sizes in bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from indexer.rules import Guards, Rule, Watermark

Mode = Literal["report", "enforce"]
Backend = Literal["auto", "fanotify", "inotify", "native", "poll"]


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`[store]`."""

    path: Path
    state: Path | None = None
    """Where the databases lie; None: in the control directory below the root."""
    mode: Mode = "report"
    backend: Backend = "auto"
    filesystems: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    ignore_readers: tuple[str, ...] = ()
    access_resolution: int = 60
    """Seconds."""


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """`[schedule]`: when the service does what, as it is written (`when.read_when` reads it)."""

    cleanup: str | None = None
    quota: str | None = None
    reconcile: str | None = None
    timezone: str = "UTC"
    jitter: int = 0
    """Seconds."""
    jobstore: str | None = None

    def jobs(self) -> dict[str, str]:
        """Return what is scheduled: name -> when."""
        given = {"cleanup": self.cleanup, "quota": self.quota, "reconcile": self.reconcile}
        return {name: when for name, when in given.items() if when is not None}


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """`[publish]`."""

    path: Path
    every: int = 900
    """Seconds."""
    mode: int = 0o640
    group: str | None = None


@dataclass(frozen=True, slots=True)
class PermissionsConfig:
    """`[permissions]`: how the tree should look; None: as it likes."""

    dir_mode: int | None = None
    """Permission bits, with setuid, setgid and sticky."""
    file_mode: int | None = None
    owner: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`[http]`."""

    listen: str
    """As it is written (`listen.read_address` reads it)."""
    token_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """`[service]`: the socket for others than root and the service's own user, who have one of their own."""

    socket: Path | None = None
    group: str | None = None
    mode: int | None = None
    """Permission bits; None: 0660 with a group, else 0600."""
    allow: tuple[str, ...] = ("read", "protect")

    @property
    def bits(self) -> int:
        """The mode that the socket gets."""
        return self.mode if self.mode is not None else 0o660 if self.group is not None else 0o600

    @property
    def shared(self) -> bool:
        """There is a second socket."""
        return self.socket is not None or self.group is not None or bool(self.bits & 0o077)


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """`[notify]`: who is told. Durations are seconds."""

    command: tuple[str, ...]
    """Program and arguments."""
    by: Literal["class", "child", "owner"] = "class"
    timeout: int = 30
    every: int = 3600


@dataclass(frozen=True, slots=True)
class HoldsConfig:
    """`[holds]`."""

    xattr: bool = False
    """The attribute user.indexer.hold of a file counts as a hold."""


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """`[ledger]`. Durations are seconds."""

    keep: int = 400 * 86_400
    thrash: int = 86_400


@dataclass(frozen=True, slots=True)
class Config:
    """The effective configuration of a store."""

    path: Path | None
    """The file; None where there is none (index only)."""
    store: StoreConfig
    guards: Guards = field(default_factory=Guards)
    classes: tuple[Rule, ...] = ()
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    publish: PublishConfig | None = None
    """None: nothing is published."""
    permissions: PermissionsConfig = field(default_factory=PermissionsConfig)
    watermark: Watermark | None = None
    http: HttpConfig | None = None
    """None: off."""
    service: ServiceConfig = field(default_factory=ServiceConfig)
    notify: NotifyConfig | None = None
    """None: nobody is told."""
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    holds: HoldsConfig = field(default_factory=HoldsConfig)
    sources: Mapping[str, str] = field(default_factory=dict)
    """`store.mode`, `class.frames.ttl` … -> `flag`, the name of an `INDEXER_` variable, a file, or `default`."""
    warnings: tuple[str, ...] = ()
    """What is allowed and probably not meant, as sentences."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides about files: two configurations with the same one plan the same."""
        policy: dict[str, object] = {
            "classes": [asdict(rule) for rule in self.classes],
            "guards": {key: value for key, value in asdict(self.guards).items() if key != "max_rate"},
            "ignore": self.store.ignore,
        }
        if self.watermark is not None:
            policy["watermark"] = asdict(self.watermark)
        return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()
