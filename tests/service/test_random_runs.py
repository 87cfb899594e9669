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
        for path, (_, state) in facts.items():
            if state == "held":
                manager.hold(root / path)
        planned = manager.plan()
        dry = manager.run_cleanup(dry_run=True)
        done = manager.run_cleanup()
        left = {path for path in facts if (root / path).exists()}
        named = _files(planned, facts)
        used = {path for path, (_, state) in facts.items() if state in {"read", "written"}}
        for path, (age, state) in facts.items():
            if path not in left:
                assert path in named, path
                assert state == "", path
                assert age > MIN_AGE, path
                assert not path.startswith("none/"), path
                assert not path.startswith("temp/") or "keep-" not in path, path
        for child in ("jobs/1/", "jobs/2/"):
            inside = {path for path in facts if path.startswith(child)}
            assert inside & left in ({*inside}, set())
        assert {path for path in named if path.startswith("temp/")} - used == {
            path for path in facts if path.startswith("temp/")
        } - left
        assert dry["files_removed"] == len(named)
        if not used:
            assert named == facts.keys() - left
            assert {key: done[key] for key in ("files_removed", "classes", "kept", "errors")} == {
                key: dry[key] for key in ("files_removed", "classes", "kept", "errors")}  # fmt: skip
        old = {path for path, (age, state) in facts.items() if path.startswith("temp/") and age > TTL and state == ""}
        assert not {path for path in old if "keep-" not in path} & left


def _files(planned: dict[str, Any], facts: dict[str, Any]) -> set[str]:
    """Return the files of the plan: a child that goes as one is one row of it."""
    paths = {action["path"] for action in planned["actions"]}
    return {path for path in facts if path in paths or any(path.startswith(f"{one}/") for one in paths)}
