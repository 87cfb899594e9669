"""A stand-in for an opened store: what the reports need of one, over an index built by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from indexer.config.model import Config, StoreConfig
from indexer.rules import Rule
from indexer.store import Store
from tests.reports.built import RULES, media


@dataclass(frozen=True)
class FakeStore:
    """Only paths and the configuration."""

    state: Path
    config: Config
    root: Path = field(default=Path("/nowhere"))
    id: str = "a-store"
    root_bytes: bytes = b"/nowhere"

    @property
    def control(self) -> Path:
        """The control directory."""
        return self.state

    @property
    def index_path(self) -> Path:
        """The index."""
        return self.state / "index.db"

    @property
    def ledger_path(self) -> Path:
        """The ledger, which may not be there."""
        return self.state / "ledger.db"


def store_of(state: Path, rules: tuple[Rule, ...] = RULES, **given: Any) -> Store:
    """Return a store whose state lies in `state`; `given` goes into `[store]`."""
    return cast("Store", FakeStore(state, Config(None, StoreConfig(Path("/nowhere"), **given), classes=rules)))


def media_store(state: Path, rules: tuple[Rule, ...] = RULES, **given: Any) -> Store:
    """Return a store with the tree that most tests read."""
    media(state / "index.db")
    return store_of(state, rules, **given)
