"""The documents as a site: built without a warning, every page in it, every link inside it checked by the generator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.program import REPOSITORY


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is listed somewhere, and every link to a page or heading leads there; a warning is an error."""
    docs = REPOSITORY / "docs"
    options = ("-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "doctrees")
    argv = (sys.executable, "-m", "sphinx", *options, docs, tmp_path / "site")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0
    pages = {path.relative_to(docs).with_suffix("") for path in docs.rglob("*.md")}
    built = {path.relative_to(tmp_path / "site").with_suffix("") for path in (tmp_path / "site").rglob("*.html")}
    assert pages <= built
    assert (tmp_path / "site" / "_images" / "architecture.svg").exists()
