"""What the documents show is what the program prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import tours
from tests.capabilities import needs


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("document", tours.DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_print_what_it_shows(document: Path) -> None:
    """A reader who types the commands sees the same, but for numbers and times; `scripts/tour` writes it anew."""
    shown = document.read_text(encoding="utf-8")
    assert "```console" in shown
    assert tours.comparable(tours.rendered(document)) == tours.comparable(shown)
