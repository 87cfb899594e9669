"""One query over the exports of several hosts, as `scripts/across-hosts` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.reports.export import export
from scripts.across_hosts import ask
from tests.program import REPOSITORY
from tests.reports.built import NOW
from tests.reports.stores import media_store


@pytest.fixture(params=[".parquet", ".csv", ".jsonl"])
def exports(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """What two hosts have exported, one of them with a quote in its name."""
    found = []
    for host in ("north", "o'hara"):
        (tmp_path / host).mkdir()
        found.append(tmp_path / f"{host}{request.param}")
        assert export(media_store(tmp_path / host), found[-1], NOW) == 12
    return found


def test_hosts_are_told_apart_and_summed(exports: list[Path]) -> None:
    """Each row knows its host; sums are those of the views."""
    columns, rows = ask(exports, "SELECT host, class, count(*), sum(allocated) FROM files GROUP BY ALL ORDER BY ALL")
    assert columns[:2] == ["host", "class"]
    one = [row[1:] for row in rows if row[0] == "north"]
    assert one == [row[1:] for row in rows if row[0] == "o'hara"]
    assert [row[1] for row in rows if row[0] == "north"] == ["cache", "frames", "outputs", "uploads", None]
    assert sum(row[1] for row in one) == 12


def test_the_command(exports: list[Path]) -> None:
    """Without a query it says what each class takes on each host; what is wrong ends with a word and exit 2."""
    command = (sys.executable, REPOSITORY / "scripts" / "across_hosts.py")
    done = subprocess.run([*command, *exports, "--csv"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "host,class,files,allocated,percent"
    assert len(done.stdout.splitlines()) == 1 + 2 * 5
    for wrong in (["--query", "SELECT x FROM files"], [exports[0].with_suffix(".txt")]):
        failed = subprocess.run([*command, *exports, *wrong], capture_output=True, text=True, check=False)
        assert (failed.returncode, "Traceback" in failed.stderr) == (2, False)
