"""The command line within this process, its output captured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from indexer.cli.main import run
from indexer.store import places


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.stdout)


Call = Callable[..., Done]


@pytest.fixture
def call(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Call:
    """Return `call("init", path, …) -> Done`, with nothing of this user's or machine's own configuration."""
    for variable in ("INDEXER_STORE", "INDEXER_CONFIG", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setattr(places, "SYSTEM", tmp_path_factory.mktemp("etc"))

    def call(*argv: str | Path) -> Done:
        capfd.readouterr()
        code = run([str(argument) for argument in argv])
        return Done(code, *capfd.readouterr())

    return call
