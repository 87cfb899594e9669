"""Real programs fill a watched store; the index is what a plain walk finds, and what expired comes back whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.bench import real
from scripts.bench.harness import Settings
from tests.capabilities import needs


@pytest.mark.real
@needs("ffmpeg", "git", "rsync", "tar")
def test_the_index_follows_real_programs_and_expiry_can_be_undone(tmp_path: Path, wheel: Path) -> None:
    """ffmpeg, pip, git, rsync and tar: index equals walk after each; what is planned goes, and comes back."""
    figures = real.measure(Settings(tmp_path, 300, repeat=1), package=os.fspath(wheel)).figures
    assert figures.pop("files") > 700
    planned = figures.pop("planned")
    assert planned > 100
    assert figures == {
        "differences": 0,
        "plan_differs": 0,
        "removed": planned,
        "left": 0,
        "restored": planned,
        "changed": 0,
        "content_changed": 0,
    }
