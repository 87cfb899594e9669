"""Where usage is going: samples in the ledger, and what they say of the days to come."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexer.enforce.ledger import Ledger
from indexer.enforce.samples import Sample
from indexer.index.queries import Reader
from indexer.reports.tables import report
from indexer.rules import Quota, Rule
from indexer.service.sampling import APART, HOUR, Sampler, take_sample
from indexer.store import Store
from tests.reports.built import DAY, NOW, RULES
from tests.reports.stores import media_store


def removed(ledger: Ledger, at: int, **classes: int) -> None:
    """Record a run that removed so many bytes of each class."""
    run = ledger.begin_run("cleanup", "schedule", user="root", mode="enforce", policy="", now=at)
    parts = {
        name: {"files_removed": 1, "bytes_freed": size // 2, "bytes_trashed": size - size // 2}
        for name, size in classes.items()
    }
    ledger.finish_run(run, at, {"classes": parts})


def growth(store: Store, **options: Any) -> dict[str | None, dict[str, Any]]:
    """Return the rows of the classes, and that of the disk as "disk"."""
    rows = report(store, "growth", NOW, **options)
    return {"disk" if row["what"] == "disk" else row["class"]: row for row in rows}


def test_rates_come_from_samples_and_runs(tmp_path: Path) -> None:
    """Ten days ago there was nothing: what is there and what has been removed since has come in; a tenth a day."""
    store = media_store(tmp_path)
    with Ledger.open(store.ledger_path) as ledger:
        ledger.add_samples([Sample(NOW - 10 * DAY, "uploads", 0, 0, 0), Sample(NOW - 10 * DAY, "frames", 9, 9, 10**9)])
        ledger.add_samples([Sample(NOW - 40 * DAY, "uploads", 0, 0, 10**12)])
        removed(ledger, NOW - 20 * DAY, uploads=10**6)
        removed(ledger, NOW - 5 * DAY, uploads=10**6)
    with Reader.open(store.index_path) as reader:
        has = {name: totals.allocated for name, totals in reader.class_totals().items()}
    rows = growth(store)
    uploads = rows["uploads"]
    assert uploads["allocated"] == has["uploads"] > 0
    assert (uploads["in_per_day"], uploads["out_per_day"]) == (round((has["uploads"] + 10**6) / 10), 10**5)
    assert uploads["net_per_day"] == uploads["in_per_day"] - 10**5
    assert rows["frames"]["net_per_day"] == round((has["frames"] - 10**9) / 10)
    assert (rows["cache"]["in_per_day"], rows["cache"]["full_at"]) == (None, None)
    assert growth(store, within=DAY)["uploads"]["in_per_day"] is None
    assert list(growth(store, class_name="uploads")) == ["uploads"]


def test_when_a_quota_is_full(tmp_path: Path) -> None:
    """Half full after ten days of growth: full in ten more; over it already: now; shrinking: never."""
    store = media_store(tmp_path)
    with Reader.open(store.index_path) as reader:
        has = reader.class_totals()["uploads"].allocated

    def with_quota(high: int) -> Store:
        first, *rest = RULES
        rule = Rule(first.name, first.match, first.exclude, ttl=first.ttl, quota=Quota(high))
        return media_store_again(store, (rule, *rest))

    with Ledger.open(store.ledger_path) as ledger:
        ledger.add_samples([Sample(NOW - 10 * DAY, "uploads", 0, 0, 0)])
    row = growth(with_quota(has * 2))["uploads"]
    assert abs(row["full_at"] - (NOW + 10 * DAY)) < 2 * DAY // 100
    assert growth(with_quota(has // 2))["uploads"]["full_at"] == NOW
    with Ledger.open(store.ledger_path) as ledger:
        ledger.add_samples([Sample(NOW - 11 * DAY, "uploads", 0, 0, has * 3)])
    assert growth(with_quota(has * 2))["uploads"]["full_at"] is None


def media_store_again(store: Store, rules: tuple[Rule, ...]) -> Store:
    """Return the same store with other rules."""
    from tests.reports.stores import store_of

    return store_of(store.state, rules)


def test_without_a_ledger_nothing_is_extrapolated(tmp_path: Path) -> None:
    """Usage is there, rates are not."""
    rows = growth(media_store(tmp_path))
    assert {row["in_per_day"] for row in rows.values()} == {None}


def test_each_filesystem_of_the_store_is_a_row(tmp_path: Path, mount: Callable[..., Path]) -> None:
    """Its own size, and the rates of the classes that lie on it alone; unknown where another class may lie on it."""
    store: Any = replace(media_store(tmp_path), root_bytes=os.fsencode(tmp_path))  # type: ignore[call-arg]
    place = mount("tmpfs", size=8)
    outer = os.fspath(place.relative_to(tmp_path))
    there = Rule("there", (f"{outer}/**",), ttl=DAY)
    with Ledger.open(store.ledger_path) as ledger:
        ledger.add_samples([Sample(NOW - 10 * DAY, name, 0, 0, 1000) for name in ("here", "there")])

    def disks(*rules: Rule) -> dict[str, Any]:
        config = replace(store.config, classes=rules, store=replace(store.config.store, filesystems=(outer,)))
        rows = report(replace(store, config=config), "growth", NOW)
        return {row["filesystem"]: row for row in rows if row["what"] == "disk"}

    found = disks(Rule("here", ("uploads/**",), ttl=DAY), there)
    assert found.keys() == {".", outer}
    assert found[outer]["limit"] == 8 * 2**20
    assert {row["net_per_day"] for row in found.values()} == {-100}
    mixed = disks(Rule("here", ("**",), ttl=DAY), there)
    assert {row["net_per_day"] for row in mixed.values()} == {None}
    assert mixed[outer]["allocated"] == found[outer]["allocated"]


def test_samples_are_taken_now_and_then(tmp_path: Path) -> None:
    """Runs take none within a quarter of an hour; a service one an hour; empty classes are noted too."""
    store = media_store(tmp_path)
    now = [float(NOW)]
    sampler = Sampler(store, clock=lambda: now[0])
    assert not sampler.look()
    assert not store.ledger_path.exists()
    now[0] += HOUR
    assert sampler.look()
    assert not sampler.look()
    with Reader.open(store.index_path) as reader, Ledger.open(store.ledger_path) as ledger:
        assert not take_sample(store, reader, ledger, NOW + HOUR + APART - 1)
        assert take_sample(store, reader, ledger, NOW + HOUR + APART)
        samples = ledger.first_samples(0)
        assert samples.keys() >= {rule.name for rule in RULES}
        assert samples["uploads"].allocated == reader.class_totals()["uploads"].allocated
        assert ledger.last_sample() == NOW + HOUR + APART
