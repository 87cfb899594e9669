"""What `doctor` says of the order of classes: who never gets a file, and whose order decides."""

from __future__ import annotations

import pytest

from indexer.reports.class_order import class_check, overlaps
from indexer.rules import Rule


def rules(*matches: str) -> list[Rule]:
    """Return classes a, b, c … with one glob each."""
    return [Rule(name=chr(97 + place), match=(glob,)) for place, glob in enumerate(matches)]


@pytest.mark.parametrize(
    ("matches", "pairs"),
    [
        (("uploads/**", "frames/**"), []),
        (("uploads/**", "uploads2/**"), []),
        (("uploads/raw/**", "uploads/**"), [("a", "b")]),
        (("**/*.tmp", "uploads/**"), [("a", "b")]),
        (("*.tmp", "uploads/**"), [("a", "b")]),
        (("uploads/*/raw/**", "frames/**"), []),
        (("uploads/*/raw/**", "uploads/u1/**", "frames/**"), [("a", "b")]),
        (("/top.bin", "uploads/**", "**"), [("a", "b"), ("a", "c"), ("b", "c")]),
    ],
)
def test_classes_that_share_files_are_named_in_their_order(
    matches: tuple[str, ...], pairs: list[tuple[str, str]]
) -> None:
    """The first of the file wins, so whoever reads the report sees which that is; doubt counts as sharing."""
    assert overlaps(rules(*matches)) == pairs


def test_a_class_that_never_applies_fails_the_check() -> None:
    """It has a remedy, and the pair is not told a second time."""
    check = class_check(rules("uploads/**", "uploads/raw/**", "uploads/x/**"), ())
    assert not check.ok
    assert check.detail == "a, b, c; never applies, since what stands before it matches all of it: b, c"
    assert check.remedy


def test_what_is_ignored_hides_a_class_too() -> None:
    """Its files are not even indexed."""
    assert not class_check(rules("uploads/**"), ("uploads/**",)).ok


def test_an_order_that_decides_is_no_failure() -> None:
    """The narrower before the wider is how one writes it."""
    check = class_check(rules("uploads/raw/**", "uploads/**"), ())
    assert check.ok
    assert check.detail == "a, b; overlapping, so that their order decides: a before b"
