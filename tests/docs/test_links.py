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


@pytest.mark.parametrize("folder", ["docs/decisions", "docs/explanation", "docs/how-to", "docs/reference"])
def test_every_document_of_a_folder_is_in_its_table_of_contents(folder: str) -> None:
    """Nothing is written that nobody can find."""
    contents = (REPOSITORY / folder / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (REPOSITORY / folder).glob("*.md")} - {"README.md"}
    assert {name for name in names if f"({name})" not in contents} == set()


def test_every_file_that_the_architecture_names_is_there() -> None:
    """The page is the plan of the house: a room or a file that was moved moves there too, and no room is left out."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms: set[str] = set()
    for row in re.findall(r"^\| (`[^|]+) \|[^|]*\| ([^|]+) \|$", text, flags=re.MULTILINE):
        names = re.findall(r"[a-z_]+", row[0])
        rooms.update(names)
        for file in re.findall(r"`([a-z_]+\.py)`", row[1]):
            places = [f"indexer/{file}", *(f"indexer/{name}/{file}" for name in names)]
            assert any((REPOSITORY / place).is_file() for place in places), file
    below = {path.stem for path in (REPOSITORY / "indexer").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in below if not name.startswith("_")} == rooms
    for path in re.findall(r"`([a-z]+/[a-z_]+\.py)`", text):
        assert (REPOSITORY / "indexer" / path).is_file(), path
