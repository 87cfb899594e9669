"""An arena on the machine's own filesystem, and the stage for attacks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import hooks
from tests.enforce.arena import Arena, Attack, Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_CHOWN")


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """Return an empty store."""
    made = Arena(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Staged]:
    """Return `stage(window, attack, name=None)`: strike when a run stands in that window of the recipe."""

    def set_up(window: str, attack: Attack, name: bytes | None = None, *, times: int = 1) -> Staged:
        assert window in hooks.WINDOWS
        staged = Staged(window, attack, name, times=times)
        monkeypatch.setattr(hooks, "at", staged)
        return staged

    return set_up
