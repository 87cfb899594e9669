"""`report html`: one page, no network, and no file name that becomes more than text."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from indexer.enforce.ledger import Ledger
from indexer.reports.page.figures import figures
from indexer.reports.page.render import render
from indexer.store import Store
from tests.capabilities import needs
from tests.reports.built import DAY, NOW, RULES, Built
from tests.reports.stores import store_of

ECHARTS = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
"""SHA-256 of echarts@6.1.0's dist/echarts.min.js."""
HOSTILE = (
    "</script><script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "{a|<svg onload=document.title='pwned'>}",
    "<!--<script>",
    "\u202egnp.exe\n\x1b[31m",
    "%3Cb%3E&lt;b&gt;",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose every directory and file has a name that would like to be something else."""
    built = Built(tmp_path / "index.db", RULES)
    for number, name in enumerate(HOSTILE):
        safe = name.replace("/", "\u2215")
        for age in range(0, 30, 3):
            built.file(f"uploads/{safe}/{age}{safe}", age=age * DAY // 2, size=10**7, blocks=20_000 * (number + 1))
        built.file(f"outputs/{safe}", age=400 * DAY, blocks=90_000)
    built.close()
    found = store_of(tmp_path)
    Ledger.open(found.ledger_path, ballast=False).close()
    with closing(sqlite3.connect(found.ledger_path)) as ledger, ledger:
        insert = "INSERT INTO usage_history (at, class, files, bytes, allocated) VALUES (?, ?, 1, 1, ?)"
        ledger.executemany(
            insert,
            [(NOW - ago * DAY, name, (50 - ago) * 10**8) for ago in range(40) for name in ("uploads", "outputs")],
        )
    return found


class _Elements(HTMLParser):
    """Which elements and attributes a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note them."""
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)


def test_names_stay_text(store: Store) -> None:
    """The page has three scripts, all ours, and nothing that loads or handles events."""
    page = render(figures(store, NOW))
    found = _Elements()
    found.feed(page)
    assert found.tags.count("script") == 3
    assert not {"img", "svg", "iframe", "link", "base", "b"} & set(found.tags)
    assert not {name for name in found.attributes if name.startswith("on")} | ({"src", "href"} & found.attributes)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert data is not None
    names = [node["name"] for node in json.loads(data[1])["tree"]["children"][0]["children"]]
    assert "<!--<script>" in names
    assert "\\u202egnp.exe\\n\\x1b[31m" in names


def test_only_our_scripts_may_run(store: Store) -> None:
    """By their hashes; the page may load nothing at all."""
    page = render(figures(store, NOW))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert policy[1].count("sha256-") == 2


def test_the_library_is_the_one_that_was_published() -> None:
    """Unchanged, with its licences beside it, and it cannot end the element that it stands in."""
    vendor = files("indexer.reports.page") / "vendor"
    content = (vendor / "echarts.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == ECHARTS
    assert b"</script" not in content
    assert b"<!--" not in content
    assert {"echarts.LICENSE", "echarts.LICENSE-d3", "echarts.NOTICE"} <= {entry.name for entry in vendor.iterdir()}


def test_its_size_does_not_follow_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest directories are summed up where they lie."""
    monkeypatch.setattr(sys.modules[figures.__module__], "DIRECTORIES", 5)
    built = Built(tmp_path / "index.db", RULES)
    for number in range(1, 21):
        built.file(f"outputs/{number:02}/x", blocks=8 * number)
    built.close()
    tree = figures(store_of(tmp_path), NOW)["tree"]
    (outputs,) = tree["children"]
    assert [child["name"] for child in outputs["children"]] == ["20", "19", "18", "(files, and smaller)"]
    assert sum(child["value"] for child in outputs["children"]) == outputs["value"] == tree["value"] == 210 * 4096
    assert outputs["children"][-1]["files"] == 17


def test_an_empty_store_has_a_page(tmp_path: Path) -> None:
    """With nothing on it."""
    Built(tmp_path / "index.db", ()).close()
    assert "0 files" in render(figures(store_of(tmp_path, ()), NOW))


@needs("chromium")
def test_a_browser_draws_it(store: Store, tmp_path: Path) -> None:
    """All charts are there, no name has become script, and there is something to see."""
    page = tmp_path / "page.html"
    page.write_text(render(figures(store, NOW)), encoding="utf-8")
    chromium = shutil.which("chromium") or "chromium"
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,2600",
    )
    done = subprocess.run(
        [
            chromium,
            *options,
            f"--screenshot={tmp_path / 'page.png'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert 'data-charts="4"' in done.stdout
    assert "<title>/nowhere: storage report</title>" in done.stdout
    assert done.stdout.count("<svg") >= 4
    assert "&lt;!--&lt;script&gt;" in done.stdout
    assert "CONSOLE" not in done.stderr
