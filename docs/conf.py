"""How Sphinx builds the documents: `scripts/docs` writes the site to build/docs and fails on every warning.

The pages are plain Markdown that reads well in any viewer, so what only a site needs is added here: tables of contents
from the lists of links in index.md and each README.md (a page that no list names fails the build), and the repository's
address for links that lead out of docs/.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = "https://github.com/storage-indexer/storage-indexer/blob/main/"

project = "indexer"
author = "the indexer developers"
html_title = "indexer"
root_doc = "index"
extensions = ["myst_parser"]
exclude_patterns = ["monitoring"]
nitpicky = True
myst_heading_anchors = 3  # links to `page.md#heading` are checked
highlight_language = "text"

html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

_PAGE = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)\.md\)")
_OUT = re.compile(r"\]\((?:\.\./)+(?=(README|CONTRIBUTING|CHANGELOG)\.md|examples/|scripts/|requirements/)")
_FOLDER = re.compile(r"\]\((?:\.\./)+(monitoring)/\)")


def contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add the table of contents of a page that is a list of others, and the repository's address."""
    text = source[0]
    if page == "index" or page.endswith("/README"):
        pages = [name for name in dict.fromkeys(_PAGE.findall(text)) if not name.startswith("..")]
        if page == "index":  # what a folder's own list has is not listed twice
            pages = [name for name in pages if "/" not in name or name.endswith("/README")]
        text += "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"
    text = _FOLDER.sub(rf"]({REPOSITORY}docs/\1)", text)
    source[0] = _OUT.sub(f"]({REPOSITORY}", text)


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.connect("source-read", contents)
