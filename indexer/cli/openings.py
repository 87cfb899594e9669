"""Which stores `watch` serves: those that are named, those that a directory of configurations names."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.cli.member import Opening
from indexer.config.trust import open_place
from indexer.errors import NoStoreError, UsageError
from indexer.store import initialise_store, locate_store, open_store, places
from indexer.store.places import named_root
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.cli._common import Cli
    from indexer.store import Store


class Stores:
    """What one call of `watch` serves. Raises UsageError, NoStoreError where it cannot be told."""

    def __init__(self, cli: Cli, directories: Sequence[Path], config_dir: Path | None) -> None:
        if config_dir is not None and (directories or cli.store is not None or cli.config is not None):
            raise UsageError("--config-dir and a store were given", remedy="name one of them")
        self._cli = cli
        self._directories = directories
        self.directory = config_dir or self._system()
        """The directory of configurations, None where stores were named."""
        self.made: list[Store] = []
        """Plain directories that have become stores."""

    @property
    def several(self) -> bool:
        """There may be more than one."""
        return self.directory is not None or len(self._directories) > 1

    def openings(self) -> list[Opening]:
        """Return how to open each; with a directory of configurations those that are there now."""
        if self.directory is not None:
            return self._configured(self.directory)
        return [
            Opening(show_text(os.fspath(named or self._cli.store or ".")), partial(self._open, named))
            for named in dict.fromkeys(self._directories or (None,))
        ]

    def _system(self) -> Path | None:
        """Return /etc/indexer for root who has named no store and stands in none."""
        cli = self._cli
        named = self._directories or cli.store or cli.config
        if named or os.geteuid() != 0 or {"INDEXER_STORE", "INDEXER_CONFIG"} & os.environ.keys():
            return None
        try:
            locate_store()
        except NoStoreError:
            return places.SYSTEM if any(places.SYSTEM.glob("*.toml")) else None
        return None

    def _open(self, named: Path | None) -> Store:
        store, made = self._cli.open_or_initialise(named)
        if made:
            self.made.append(store)
        return store

    def _configured(self, directory: Path) -> list[Opening]:
        """Raises UsageError for a directory that cannot be read, TrustError for one in which others may write."""
        real = Path(os.path.realpath(directory))
        try:
            os.close(open_place(real))
            names = sorted(name for name in os.listdir(real) if name.endswith(".toml") and not name.startswith("."))
        except OSError as error:
            raise UsageError(
                f"{show_text(os.fspath(directory))}: {error.strerror}", remedy="name a directory of configurations"
            ) from error
        return [Opening(show_text(os.fspath(real / name)), partial(_open_configured, real / name)) for name in names]


def _open_configured(file: Path) -> Store:
    root = named_root(file)
    if root == file.parent:
        raise UsageError(f"{show_text(os.fspath(file))} names no store", remedy="write path = … in its [store]")
    try:
        return open_store(root, config_path=file)
    except NoStoreError:
        return initialise_store(root, index_only=True, config_path=file)
