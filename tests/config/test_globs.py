"""What the configuration accepts as a glob, the matching library understands, and means what it seems to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from indexer.config.globs import check, covers, literal, prefix_of
from indexer.errors import UsageError

GLOBS = [
    "uploads/**",
    "**/.keep",
    "*.tmp",
    "/top",
    "a/*/b",
    "a/**/b",
    "x[ab]",
    "x[!a]",
    "x[]a]",
    r"a\*b",
    "cache/",
    "**",
]


@pytest.mark.parametrize("glob", GLOBS)
def test_an_ordinary_glob_is_accepted(glob: str) -> None:
    """And compiles."""
    assert check(glob) == glob
    GitIgnoreSpec.from_lines([glob])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_whatever_is_accepted_compiles(glob: str) -> None:
    """No text passes here and fails later, in the middle of a scan."""
    with suppress(UsageError):
        GitIgnoreSpec.from_lines([check(glob)])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_a_literal_glob_matches_exactly_its_directory(name: str) -> None:
    """Whatever a directory is called, the class proposed for it is about it and no other."""
    if name.strip() != name or "/" in name or name in {".", ".."} or "\n" in name:
        return
    glob = literal(name) + "/**"
    check(glob)
    spec = GitIgnoreSpec.from_lines([glob])
    assert spec.match_file(f"{name}/x")
    assert not spec.match_file(f"other/{name}/x")
    assert not spec.match_file(f"{name}2/x")
    assert prefix_of(glob) == literal(name)


@pytest.mark.parametrize(
    ("glob", "prefix"),
    [("frames/**", "frames"), ("/a/b/**", "a/b"), ("**", ""), ("a/*/**", None), ("*.tmp", None), (r"a\*/**", r"a\*")],
)
def test_the_prefix_of_a_glob(glob: str, prefix: str | None) -> None:
    """Only `directory/**` has one."""
    assert prefix_of(glob) == prefix


@pytest.mark.parametrize(
    ("first", "second", "covered"),
    [
        ("**", "frames/**", True),
        ("frames/**", "frames/**", True),
        ("frames/**", "frames/tmp/**", True),
        ("frames/**", "/frames/*.jpg", True),
        ("frames/**", "frames2/**", False),
        ("frames/tmp/**", "frames/**", False),
        ("frames/**", "frames", False),
        ("*.tmp", "a/*.tmp", False),
    ],
)
def test_a_class_that_never_applies_is_seen(first: str, second: str, covered: bool) -> None:
    """As far as prefixes tell; in doubt it is not covered."""
    assert covers(first, second) is covered
