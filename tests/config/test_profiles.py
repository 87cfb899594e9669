"""The shipped profiles and the proposals: every one loads, says what it says, and is ready for what comes later."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.config import read_config
from indexer.config.profiles import MEDIA, PROFILES, configuration, toml
from indexer.config.propose import MOST_DIRECTORIES, propose
from indexer.rules import MinFree, Shares, Watermark
from indexer.units import parse_duration
from tests.capabilities import needs
from tests.trees import Symlink, make

FILE = Path("/srv/media/indexer.toml")
DAY = 86400


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_loads_in_report_mode(name: str) -> None:
    """What init writes is valid, removes nothing, and gives no cause for a warning."""
    config = read_config(configuration(PROFILES[name]).encode(), path=FILE, environ={})
    assert config.store.mode == "report"
    assert [rule.name for rule in config.classes] == [draft.name for draft in PROFILES[name].classes]
    assert config.warnings == ()


def test_profile_media_is_the_one_of_the_contract() -> None:
    """Classes, tiers, ttls, quotas, the watermark and when."""
    text = configuration(MEDIA)
    config = read_config(text.encode(), path=FILE, environ={})
    assert {rule.name: (rule.ttl, rule.tier) for rule in config.classes} == {
        "uploads": (7 * DAY, "hot"),
        "frames": (30 * DAY, "warm"),
        "contact-sheets": (30 * DAY, "warm"),
        "outputs": (None, "cold"),
        "temp": (DAY, "hot"),
    }
    quotas = [rule.quota for rule in config.classes]
    assert [quota and quota.high for quota in quotas] == [size * 2**30 for size in (10, 50, 20, 100, 5)]
    assert [rule.name for rule in config.classes if not rule.evicts] == ["outputs"]
    assert config.watermark == Watermark(
        ("temp", "uploads", "frames", "contact-sheets"), Shares(0.9, 0.85), MinFree(5 * 2**30, 10 * 2**30)
    )
    assert 'cleanup = "every day at 02:00"' in text.splitlines()


def test_cache_and_scratch_go_by_last_use() -> None:
    """Clock atime and mtime: both must be old."""
    for name in ("cache", "scratch"):
        config = read_config(configuration(PROFILES[name]).encode(), path=FILE, environ={})
        assert [rule.clocks for rule in config.classes] == [("atime", "mtime")]


def test_known_directories_get_a_ttl_and_others_are_kept(tmp_path: Path) -> None:
    """Media only where its directories are; a known name in an unknown directory comes before the rest of it."""
    make(
        tmp_path,
        {
            "uploads": {},
            "temp": {},
            "photos": {"2024": {}, "thumbnails": {}},
            ".cache": {},
            ".hidden": {},
            "file": b"",
            "link": Symlink("uploads"),
        },
    )
    classes = {draft.name: (draft.match, draft.keys.get("ttl")) for draft in propose(tmp_path).classes}
    assert classes == {
        "cache": ((".cache/**",), "30d"),
        "photos-thumbnails": (("photos/thumbnails/**",), "30d"),
        "photos": (("photos/**",), None),
        "temp": (("temp/**",), "24h"),
        "uploads": (("uploads/**",), "7d"),
    }
    config = read_config(configuration(propose(tmp_path)).encode(), path=FILE, environ={})
    assert {rule.name: rule.ttl for rule in config.classes} == {
        name: parse_duration(ttl) if ttl else None for name, (_, ttl) in classes.items()
    }


HOSTILE = ["a b", "a*b", "[x]", "!a", "#a", "quote\"'s", "back\\slash", "Übung", "ü", "-", "a.b", "A", "?"]


def test_any_directory_name_makes_a_valid_proposal(tmp_path: Path) -> None:
    """Names that globs, TOML or class names could trip over; undecodable ones are left to no class."""
    for name in HOSTILE:
        (tmp_path / name).mkdir()
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\n")
    config = read_config(configuration(propose(tmp_path)).encode(), path=FILE, environ={})
    assert len(config.classes) == len(HOSTILE)
    assert len({rule.name for rule in config.classes}) == len(HOSTILE)


def test_a_proposal_is_bounded(tmp_path: Path) -> None:
    """Thousands of users' directories do not become thousands of classes, and it is said that there are more."""
    for number in range(MOST_DIRECTORIES + 10):
        (tmp_path / f"user-{number:04}").mkdir()
    proposal = propose(tmp_path)
    assert len(proposal.classes) == MOST_DIRECTORIES
    assert "There are more directories" in proposal.remarks[0]
    assert "There are more directories" in configuration(proposal)


@needs("CAP_SYS_ADMIN")
def test_another_filesystem_is_left_out_and_named(mount: Callable[..., Path]) -> None:
    """It belongs to the store only once the configuration says so."""
    target = mount("tmpfs")
    (target.parent / "plain").mkdir()
    proposal = propose(target.parent)
    assert [draft.name for draft in proposal.classes] == ["plain"]
    assert proposal.remarks == (f'Another filesystem, left out until it is named: filesystems = ["{target.name}"]',)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", '"a"'),
        ('q"\\\x7f\n', '"q\\"\\\\\\u007f\\n"'),
        (True, "true"),
        (["a", 1], '["a", 1]'),
        ({"high": 0.9, "low": "5GiB"}, '{ high = 0.9, low = "5GiB" }'),
    ],
)
def test_values_are_written_as_toml(value: object, written: str) -> None:
    """As they are read back."""
    assert toml(value) == written
