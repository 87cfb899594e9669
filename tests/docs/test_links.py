"""The documents hold together: what they point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.program import REPOSITORY

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """A reader who follows a link within the documents arrives."""
    targets = re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("folder", ["docs/decisions", "docs/how-to", "docs/reference"])
def test_every_document_of_a_folder_is_in_its_table_of_contents(folder: str) -> None:
    """Nothing is written that nobody can find."""
    contents = (REPOSITORY / folder / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (REPOSITORY / folder).glob("*.md")} - {"README.md"}
    assert {name for name in names if f"({name})" not in contents} == set()
