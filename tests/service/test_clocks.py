"""Every clock from the configuration to the plan, through the program: the tree decides, not a made-up row."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from datetime import UTC, datetime
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


EACH = (("mtime",), ("atime",), ("ctime",), ("btime",), ("filename",), ("mtime", "atime"), ("mtime", "filename"))
ONE = """
[[class]]
name = "NAME"
match = ["NAME/**"]
ttl = "TTL"
clock = CLOCK
arrival_floor = FLOOR
min_age = "0s"
MORE
"""
NAMED = """filename_time = { regex = '_(\\d{8})', format = "%Y%m%d", otherwise = "keep" }"""


def walked(root: Path, now: int) -> set[str]:
    """Return what has expired at `now` by a plain walk that stats every file: a definition, not the program's code."""
    due = set()
    paths = [path for path in sorted((root / "each").rglob("*")) if path.is_file()]
    births = subprocess.run(["stat", "-c", "%W", *paths], capture_output=True, text=True, check=True).stdout.split()
    for path, birth in zip(paths, births, strict=True):
        clocks, floor, days = path.relative_to(root / "each").parts[0].split(".")
        status = path.stat()
        named = re.search(r"_(\d{8})", path.name)
        day = None if named is None else datetime.strptime(named[1], "%Y%m%d").replace(tzinfo=UTC)
        times = {
            "mtime": status.st_mtime // 1,
            "atime": status.st_atime // 1,
            "ctime": status.st_ctime // 1,
            "btime": float(birth),  # a filesystem without them would say 0: those of the tests have them
            "filename": float("inf") if day is None else day.timestamp(),
        }
        # at a first scan a file arrives when it was last changed, moved or unpacked: at its ctime
        age = now - max([times[name] for name in clocks.split("-")] + [status.st_ctime // 1] * (floor == "yes"))
        if age > int(days) * DAY:
            due.add(os.fspath(path.relative_to(root)))
    return due


def test_a_plan_is_what_a_walk_finds_in_every_time_zone(program: Program, tmp_path: Path) -> None:
    """TTL by every clock, with and without the floor of the arrival, at several moments; the machine's zone is nothing.

    By the plan, and by the dates in the view `files`.
    """
    draw = random.Random(4)
    text = ""
    now = int(time.time())
    for clocks in EACH:
        for floor in ("yes", "no"):
            name = f"{'-'.join(clocks)}.{floor}.5"
            one = ONE.replace("NAME", f"each/{name}").replace("CLOCK", json.dumps(clocks)).replace("TTL", "5d")
            one = one.replace("MORE", NAMED if "filename" in clocks else "")
            text += one.replace("FLOOR", "true" if floor == "yes" else "false").replace('"each/', '"', 1)
            for number in range(8):
                path = tmp_path / "each" / name / ("deep" if number % 2 else "") / f"{number}"
                if number % 3:
                    path = path.with_name(
                        f"{number}_{datetime.fromtimestamp(now - draw.randrange(9) * DAY, UTC):%Y%m%d}"
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
                used, written = (now - 5 * DAY + draw.choice((-2, -1, 1, 9, 1000)) * 400 for _ in range(2))
                os.utime(path, (used, written))
    (tmp_path / "indexer.toml").write_text("[guards]\nmax_fraction = 1\n" + text)
    program.json("scan", tmp_path)
    found = {}
    for zone, later in (("UTC", 0), ("UTC", 3 * DAY), ("Europe/Berlin", 6 * DAY), ("America/New_York", 3 * DAY)):
        elsewhere = Program(program.argv, {**program.environment, "TZ": zone})
        plan = elsewhere.json("plan", tmp_path, "--no-scan", "--at", f"@{now + later}")
        found[zone, later] = {action["path"] for action in plan["actions"]}
        assert found[zone, later] == walked(tmp_path, now + later), (zone, later)
    assert 5 < len(found["UTC", 0]) < len(found["UTC", 3 * DAY]) < len(found["Europe/Berlin", 6 * DAY])
    dates = program.sql(tmp_path, f"SELECT path FROM files WHERE expires_at < {now + 3 * DAY}")
    assert {row[0] for row in dates} == found["UTC", 3 * DAY]
