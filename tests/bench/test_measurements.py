"""The measurements, small: what they count must be right; how long they take is nobody's promise here."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench import (
    expire,
    fuzz,
    growth,
    harness,
    journaled,
    load,
    neighbours,
    plan,
    reclassify,
    scan,
    storm,
    synth,
    usage,
    watchers,
)
from scripts.bench.harness import Settings
from scripts.bench.peers import absent
from tests.capabilities import needs
from tests.mounts import needs_of

FILES = 2_500
FUZZED = ("histories", "wrong")


def test_scans_of_an_unchanged_tree_find_everything_once(tmp_path: Path) -> None:
    """The first scan adds every file, a second and a quick one change nothing."""
    figures = scan.measure(Settings(tmp_path, FILES, repeat=1)).figures
    del figures["index_bytes"]
    nothing = {"added": 0, "updated": 0, "removed": 0}
    expected = {"first": {**nothing, "added": FILES}, "second": nothing, "quick": nothing}
    assert figures == {"files": FILES} | {
        f"{run}_{key}": count for run, counts in expected.items() for key, count in {"files": FILES, **counts}.items()
    }


@needs("gcc", *needs_of("ext4"), *needs_of("tmpfs"))
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
@pytest.mark.parametrize("fresh", [False, True], ids=["into known directories", "into directories of its own"])
def test_a_storm_of_creates_loses_nothing(tmp_path: Path, kind: str, fresh: bool) -> None:
    """After `settle`, every file that was created at full speed is in the index as it is on disk."""
    files = 20_000
    figures = storm.measure(Settings(tmp_path, files, repeat=1), (kind,), fresh=fresh, peers=False).figures
    assert figures == {f"{kind}_found": files, f"{kind}_missing": 0, f"{kind}_wrong": 0, f"{kind}_extra": 0}


@needs("gcc", *needs_of("tmpfs"))
def test_no_backend_of_ours_loses_anything_where_others_are_compared(tmp_path: Path) -> None:
    """Every peer that is installed is started, stormed and asked; ours have seen all of it."""
    figures = watchers.measure(Settings(tmp_path, 1_000, repeat=1), ("tmpfs",)).figures
    ours = [name for name in watchers.PEERS if name not in {"watchdog", "watchfiles"} and absent(name) is None]
    assert {name: figures[f"tmpfs {name} lost"] for name in ours} == dict.fromkeys(ours, 0)
    assert {name for name in watchers.SET_UP if f"{name} ready" in figures} >= {"indexer, inotify", "watchdog"}


@needs("gcc", *needs_of("ext4"))
def test_a_busy_filesystem_and_a_busy_file_hide_nothing(tmp_path: Path) -> None:
    """What is made in the store beside a storm elsewhere is found, and a file that is read all the time is in use."""
    way = next(iter(neighbours.WAYS))
    figures = neighbours.measure(Settings(tmp_path, 4_000, repeat=1), (way,), seconds=1).figures
    assert figures == {f"{way} lost": 0, f"{way} lost fresh": 0, "fanotify noted": 1, "inotify noted": 1}


@needs("gcc", *needs_of("ext4"))
def test_a_steady_load_is_followed(tmp_path: Path) -> None:
    """Two seconds of it: every probe was seen, and index and walk agree at its end."""
    figures = load.measure(Settings(tmp_path, 10_000), ("inotify",), rest=0).figures
    assert figures["inotify wrong"] == 0
    assert figures["inotify late"] < load.PATIENCE


@needs(*needs_of("tmpfs"))
def test_histories_are_played_on_each_backend(tmp_path: Path) -> None:
    """One history on each, one without a kernel, and none is wrong."""
    figures = fuzz.measure(Settings(tmp_path, 4), ("tmpfs",)).figures
    backends = {"fanotify": 1, "inotify": 1, "native": 1, "poll": 1, "scripted": 4}
    assert figures == {
        f"{name} tmpfs {what}": count * (what == "histories") for name, count in backends.items() for what in FUZZED
    }


def test_a_plan_names_what_a_walk_finds_whatever_else_is_stored(tmp_path: Path) -> None:
    """`plan` finds exactly as many due files as `rglob` does, also among ten times the rows."""
    figures = plan.measure(Settings(tmp_path, FILES, repeat=1)).figures
    due = FILES // 100
    walks = {"rglob_due": due, "find_due": due}
    sizes = FILES, FILES * 10
    made = {files: files - synth.PATTERN for files in sizes}
    shares = {f"{files} due 1/10": -(-made[files] // round(made[files] / (files // 10))) for files in sizes}
    sums = {f"{files} {what}": files for files in sizes for what in ("held", "in children", "used")}
    assert figures == {
        "expired": due, "plan_due": due, "ten_due": due, "ten_files": FILES * 10, **walks, **shares, **sums
    }  # fmt: skip


def test_another_policy_reaches_every_file_while_events_go_on(tmp_path: Path) -> None:
    """All files are in the new class at its end, and every file that was made meanwhile is in the index."""
    figures = reclassify.measure(Settings(tmp_path, FILES, repeat=1)).figures
    assert figures["jobs"] == FILES
    assert figures["rest"] >= figures.pop("probes") >= reclassify.PROBES
    assert figures.keys() <= {"jobs", "rest"}


def test_usage_counts_every_file_and_exports_have_every_row(tmp_path: Path) -> None:
    """From the counters, and in each format."""
    found = usage.measure(Settings(tmp_path, FILES, repeat=1)).figures
    assert found["counted"] == FILES
    assert {name: rows for name, rows in found.items() if name.startswith("rows ")} == dict.fromkeys(
        ("rows .parquet", "rows .csv", "rows .jsonl", "rows .db"), FILES
    )


def test_what_is_due_is_found_however_much_is_stored(tmp_path: Path) -> None:
    """A synthetic index is one to the program: it counts, plans and expires as much as was made."""
    found = growth.measure(Settings(tmp_path, FILES, repeat=1)).figures
    for files in (FILES, FILES * 10):
        assert found[f"{files} counted"] == files
        assert found[f"{files} due"] == found[f"{files} expired"]
        assert found[f"{files} due"] == pytest.approx(FILES // 10, abs=5)


def test_every_program_removes_the_same_tenth(tmp_path: Path) -> None:
    """Whoever is measured leaves none of the victims; a restore brings all back; a run needs few fsyncs."""
    found = expire.measure(Settings(tmp_path, FILES, repeat=1)).figures
    assert {name: left for name, left in found.items() if ": left by " in name and left} == {}
    assert sum(": left by " in name for name in found) >= 8
    assert found["restored"] == FILES // 100
    assert found.get("fsyncs", 0) < 60


@needs(*needs_of("ext4"))
def test_every_program_removes_the_same_tenth_with_a_journal(tmp_path: Path) -> None:
    """On a filesystem of its own, which is gone afterwards."""
    found = journaled.measure(Settings(tmp_path, FILES, repeat=1)).figures
    assert len(found) >= 4
    assert {name: left for name, left in found.items() if name.startswith("left by ") and left} == {}


def test_a_new_table_replaces_its_own_predecessor_only(tmp_path: Path) -> None:
    """Writing a section leaves all others as they are, and writing it again does not make it longer."""
    document = tmp_path / "benchmarks.md"
    document.write_text("# Benchmarks\n", encoding="utf-8")
    harness.write(document, "scan", "old\n")
    harness.write(document, "storm", "kept\n")
    harness.write(document, "scan", "new\n")
    assert document.read_text(encoding="utf-8").splitlines() == [
        *("# Benchmarks", ""),
        *("<!-- scan: begin -->", "new", "<!-- scan: end -->", ""),
        *("<!-- storm: begin -->", "kept", "<!-- storm: end -->"),
    ]


def test_a_cost_is_that_of_the_process_alone() -> None:
    """A small process is small even when this one is large (wait4 counts the parent's pages before exec)."""
    ballast = bytearray(200 * 2**20)
    assert harness.cost("true").rss < 50 * 2**20 < len(ballast)
