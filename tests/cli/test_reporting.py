"""`report html` and `export` on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.errors import EXIT_SOME_FAILED, EXIT_USAGE
from tests.program import Program


@pytest.fixture
def store(tmp_path: Path, call: Callable[..., Any]) -> Path:
    """Return a scanned store of three files."""
    root = tmp_path / "store"
    root.mkdir()
    for name in "abc":
        (root / name).write_bytes(b"x" * 5000)
    assert call("init", root, "--profile", "empty").code == 0
    assert call("scan", root).code == 0
    return root


def test_a_page(store: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    """FILE, then DIR; the document says how large it is."""
    done = call("report", "html", tmp_path / "page.html", store, "--json")
    assert done.document == {"file": str(tmp_path / "page.html"), "bytes": (tmp_path / "page.html").stat().st_size}
    assert "3 files" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("report", "html"), "takes a FILE"),
        (("report", "html", "page.html", "--top", "5"), "the whole store"),
        (("report", "usage", "a", "b"), "takes one DIR"),
        (("report", "largest", "--by", "day"), "what is used cannot be shown by 'day'"),
        (("plan", "--policy", "/none.toml"), "/none.toml: No such file or directory"),
        (("export", "files.csv", "--mode", "rw"), "not a mode"),
        (("export", "files.csv", "--mode", "7777"), "not a mode"),
    ],
)
def test_what_makes_no_sense(store: Path, call: Callable[..., Any], argv: tuple[str, ...], message: str) -> None:
    """Is said, with a remedy."""
    done = call("-C", store, *argv, "--json")
    assert done.code == EXIT_USAGE
    assert message in done.document["error"]["message"]
    assert done.document["error"]["remedy"]


def test_an_export(store: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    """Says how many rows it has."""
    target = tmp_path / "files.csv"
    assert call("-C", store, "export", target, "--json").document == {"file": str(target), "rows": 3}
    assert len(target.read_text(encoding="utf-8").splitlines()) == 4


def test_an_edited_policy_is_noted_until_it_is_in_force(store: Path, call: Callable[..., Any]) -> None:
    """A report whose classes are those of before must not look as if it had heard of the edit."""
    (store / "indexer.toml").write_text('[[class]]\nname = "all"\nmatch = ["*"]\nttl = "7d"\n', encoding="utf-8")
    for argv in (("report", "usage"), ("sql", "SELECT class FROM files")):
        assert "the policy was edited" in call("-C", store, *argv).stderr
    assert call("scan", store, "--quick").code == 0
    done = call("-C", store, "report", "usage", "--json")
    assert (done.stderr, done.document["rows"][0]["class"], done.document["rows"][0]["files"]) == ("", "all", 3)


def test_a_single_step_cannot_outlast_its_time(store: Path, program: Program) -> None:
    """SQLite asks for the time between steps; one LIKE on a large text is one step, and would take an hour."""
    query = "SELECT printf('%.*c', 60000000, 'a') LIKE '%' || printf('%.*c', 20000, 'a') || 'b%'"
    error = program.json("-C", store, "sql", query, "--timeout", "0.2", exits=EXIT_SOME_FAILED)["error"]
    assert error["message"] == "the query took longer than 0.2 s"
