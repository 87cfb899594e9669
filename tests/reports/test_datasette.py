"""Datasette opens the published copy with what is shipped for it: started for real, pages fetched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from indexer.reports.export import export
from scripts.generate_datasette import FOLDER, documents, text_of
from tests.program import PATIENCE, REPOSITORY
from tests.reports.built import NOW
from tests.reports.stores import media_store

QUERIES: dict[str, Any] = documents()["0.65-metadata.json"]["databases"]["media"]["queries"]
RELEASES = {"0.65": "datasette>=0.65,<1", "1.0": "datasette>=1.0a19"}


def executable(release: str) -> Path:
    """Return a `datasette` of that release, in an environment of its own below .cache; skip where there is none."""
    place = REPOSITORY / ".cache" / f"datasette-{release}"
    program = place / "bin" / "datasette"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        early = [] if release == "0.65" else ["--pre"]
        install: list[str | Path] = [place / "bin" / "python", "-m", "pip", "install", "--quiet", *early]
        install.append(RELEASES[release])
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs {RELEASES[release]}, which cannot be installed here")
        (place / "complete").touch()
    return program


@pytest.fixture(scope="module", params=RELEASES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a running Datasette over the published copy."""
    place = tmp_path_factory.mktemp("datasette")
    (place / "state").mkdir()
    export(media_store(place / "state"), place / "media.db", NOW)
    program = executable(request.param)
    metadata: list[str | Path] = ["--metadata", FOLDER / f"{request.param}-metadata.json"]
    if request.param == "1.0":
        metadata += ["--config", FOLDER / "1.0-datasette.json"]
    process = subprocess.Popen(
        [
            program,
            "serve",
            "--immutable",
            place / "media.db",
            *metadata,
            "--plugins-dir",
            FOLDER / "plugins",
            "--port",
            "0",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    assert process.stderr is not None
    address, log = None, ""
    for line in process.stderr:
        log += line
        if found := re.search(r"running on (http://[\d.:]+)", line):
            address = found[1]
            break
    assert address is not None, log
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    yield address
    process.terminate()
    process.wait(PATIENCE)
    guard.cancel()
    drain.join()
    process.stderr.close()


def get(address: str) -> str:
    """Return a page."""
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:  # noqa: S310 - the one that was just started
        text: str = answer.read().decode()
    return text


def rows(document: dict[str, Any]) -> list[Any]:
    """Return the rows of an answer in the shape `objects`."""
    found: list[Any] = document["rows"]
    return found


def test_titles_and_descriptions_are_shown(served: str) -> None:
    """Of the database and of a view."""
    page = get(f"{served}/media")
    assert "Storage index" in page
    titles = [query["title"] for query in QUERIES.values()]
    assert any(title in page for title in titles)  # 1.0 shows the first ones, and a link to the others
    assert "One row a file." in get(f"{served}/media/files")


def test_views_and_filters_work(served: str) -> None:
    """A filter on a column of a view."""
    found = json.loads(get(f"{served}/media/files.json?class=outputs&_shape=objects"))
    assert [row["path"] for row in rows(found)] == ["outputs/final.mp4"]
    page = get(f"{served}/media/files?class=frames")
    assert "frames/job-1/café.jpg" in page
    assert b"frames/job-\xff/frame\n.jpg".hex() in page


@pytest.mark.parametrize("name", QUERIES)
def test_every_canned_query_is_answered(served: str, name: str) -> None:
    """With columns, without an error."""
    found = json.loads(get(f"{served}/media/{quote(name)}.json?_shape=objects"))
    assert not found.get("error")
    assert isinstance(rows(found), list)


@pytest.mark.parametrize("name", documents())
def test_the_files_are_up_to_date(name: str) -> None:
    """They are made from the SQL surface and the cookbook by scripts/reference."""
    assert (FOLDER / name).read_text(encoding="utf-8") == text_of(documents()[name])
