"""Random trees under a whole policy: what a run takes is what the plan said, and never what somebody holds or uses."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer import StorageManager
from indexer.store import initialise_store

DAY = 86_400
POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1
[[class]]
name = "temp"
match = ["temp/**"]
exclude = ["**/keep-*"]
ttl = "2d"
min_age = "1d"
arrival_floor = false
quota = { files = 3 }
[[class]]
name = "jobs"
match = ["jobs/**"]
ttl = "2d"
min_age = "1d"
arrival_floor = false
unit = "child"
action = "delete"
"""
TTL, MIN_AGE = 2 * DAY, DAY
FILES = st.lists(
    st.tuples(
        st.sampled_from(["temp", "temp/a", "temp/a/b", "jobs/1", "jobs/2", "jobs/2/deep", "none"]),
        st.sampled_from(["", "keep-"]),
        st.integers(0, 8),  # half days old, and a little
        st.sampled_from(["", "", "", "held", "read", "written"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=FILES)
def test_a_run_is_its_plan_but_for_what_is_in_use(files: list[tuple[str, str, int, str]]) -> None:
    """Held, excluded, too young, unclassified, in use: each stays; a child goes whole or not at all; the rest goes."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        root = Path(place)
        (root / "indexer.toml").write_text(POLICY)
        facts: dict[str, tuple[int, str]] = {}
        for number, (folder, prefix, halves, state) in enumerate(files):
            path = root / folder / f"{prefix}{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 100)
            age = halves * DAY // 2 + 600
            os.utime(path, (time.time() - age,) * 2)
            facts[os.fspath(path.relative_to(root))] = age, state
            if state in {"read", "written"}:
                stack.enter_context(path.open("rb" if state == "read" else "ab"))
        initialise_store(root)
        manager = StorageManager(root)
        manager.scan()
        for name, (_, state) in facts.items():
            if state == "held":
                manager.hold(root / name)
        planned = manager.plan()
        dry = manager.run_cleanup(dry_run=True)
        done = manager.run_cleanup()
        left = {name for name in facts if (root / name).exists()}
        named = _files(planned, facts)
        used = {name for name, (_, state) in facts.items() if state in {"read", "written"}}
        for name, (age, state) in facts.items():
            if name not in left:
                assert name in named, name
                assert state == "", name
                assert age > MIN_AGE, name
                assert not name.startswith("none/"), name
                assert not name.startswith("temp/") or "keep-" not in name, name
        for child in ("jobs/1/", "jobs/2/"):
            inside = {name for name in facts if name.startswith(child)}
            assert inside & left in ({*inside}, set())
        assert {name for name in named if name.startswith("temp/")} - used == {
            name for name in facts if name.startswith("temp/")
        } - left
        assert dry["files_removed"] == len(named)
        if not used:
            assert named == facts.keys() - left
            assert {key: done[key] for key in ("files_removed", "classes", "kept", "errors")} == {
                key: dry[key] for key in ("files_removed", "classes", "kept", "errors")}  # fmt: skip
        old = {name for name, (age, state) in facts.items() if name.startswith("temp/") and age > TTL and state == ""}
        assert not {name for name in old if "keep-" not in name} & left


def _files(planned: dict[str, Any], facts: dict[str, Any]) -> set[str]:
    """Return the files of the plan: a child that goes as one is one row of it."""
    paths = {action["path"] for action in planned["actions"]}
    return {path for path in facts if path in paths or any(path.startswith(f"{one}/") for one in paths)}


def test_blocks_of_links_come_free_with_the_last_name(tmp_path: Path) -> None:
    """The plan, the dry run and the run agree on it; a file that keeps a name elsewhere frees nothing."""
    (tmp_path / "indexer.toml").write_text(POLICY.replace("quota = { files = 3 }", 'action = "delete"'))
    (tmp_path / "temp").mkdir()
    for name, size in (("both", 100_000), ("one", 50_000), ("sparse", 0)):
        (tmp_path / "temp" / name).write_bytes(b"x" * size)
    os.truncate(tmp_path / "temp/sparse", 2**30)
    os.link(tmp_path / "temp/both", tmp_path / "temp/both-2")
    os.link(tmp_path / "temp/one", tmp_path / "elsewhere")
    both, one = (tmp_path / "temp" / name for name in ("both", "one"))
    blocks = {path.name: path.stat().st_blocks * 512 for path in (both, one)}
    for path in (tmp_path / "temp").iterdir():
        os.utime(path, (0, 0))
    initialise_store(tmp_path)
    manager = StorageManager(tmp_path)
    manager.scan()
    totals = manager.plan()["totals"]
    assert (totals["files"], totals["allocated"], totals["still_linked"]) == (4, sum(blocks.values()), blocks["one"])
    dry = manager.run_cleanup(dry_run=True)
    done = manager.run_cleanup()
    assert dry["classes"] == done["classes"] == {
        "temp": {"files_removed": 4, "bytes_freed": blocks["both"], "bytes_trashed": 0}}  # fmt: skip
