"""Every clock from the configuration to the plan, through the program: the tree decides, not a made-up row."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.program import Program

DAY = 86_400
CONFIGURATION = """
[[class]]
name = "named"
match = ["named/**"]
ttl = "30d"
clock = ["filename"]
arrival_floor = false
min_age = "0s"
filename_time = { regex = '_(\\d{8}_\\d{6})', format = "%Y%m%d_%H%M%S", tz = "Europe/Berlin", otherwise = "OTHERWISE" }
[[class]]
name = "changed"
match = ["changed/**"]
ttl = "1d"
clock = ["ctime"]
min_age = "0s"
[[class]]
name = "born"
match = ["born/**"]
ttl = "1d"
clock = ["btime"]
min_age = "0s"
"""


def planned(program: Program, root: Path, otherwise: str, *more: str) -> dict[str, Any]:
    """Plan the tree under this configuration."""
    (root / "indexer.toml").write_text(CONFIGURATION.replace("OTHERWISE", otherwise))
    found = program.json("plan", root, *more)
    assert isinstance(found, dict)
    return found


def test_the_clocks_of_a_real_tree(program: Program, tmp_path: Path) -> None:
    """Names, changes and births count as configured; a changed configuration clocks the known files anew."""
    for name in ("named/a_20240115_143022.jpg", "named/b_20991231_000000.jpg", "named/c_20240230_000000.jpg",
                 "named/d.jpg", "changed/a", "born/a"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    program.json("scan", tmp_path)
    kept = planned(program, tmp_path, "keep")
    assert [(action["path"], action["clock_at"]) for action in kept["actions"]] == [
        ("named/a_20240115_143022.jpg", 1_705_325_422)
    ]
    assert kept["kept"] == {"no_time": 3}
    trusting = planned(program, tmp_path, "mtime")
    assert [(action["path"], action["clock_at"]) for action in trusting["actions"]] == [
        ("named/b_20991231_000000.jpg", 0),
        ("named/c_20240230_000000.jpg", 0),
        ("named/d.jpg", 0),
        ("named/a_20240115_143022.jpg", 1_705_325_422),
    ]
    later = planned(program, tmp_path, "keep", "--at", "+2d")
    assert {action["path"] for action in later["actions"]} == {"named/a_20240115_143022.jpg", "changed/a", "born/a"}
    clocks = {action["class"]: action["clock_at"] for action in later["actions"]}
    now = time.time()
    assert now - 300 < clocks["changed"] <= now
    assert now - 300 < clocks["born"] <= now
