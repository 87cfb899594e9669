"""The reference says what the program does, because it is written by it."""

from __future__ import annotations

import pytest

from scripts.generate_reference import FOLDER, NOTE, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_up_to_date(name: str) -> None:
    """Whoever changes a key, a word or a command runs `scripts/reference` in the same commit."""
    assert (FOLDER / name).read_text(encoding="utf-8") == NOTE + PAGES[name]()
