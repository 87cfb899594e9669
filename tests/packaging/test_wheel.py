"""The wheel, alone in an empty environment: what users get, with no source tree beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.program import REPOSITORY, Program
from tests.trees import File, make

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return the `indexer` command of an environment that has the wheel and its dependencies, and nothing else."""
    place = tmp_path_factory.mktemp("installed")
    pip = (place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    commands: tuple[tuple[str | Path, ...], ...] = (
        (sys.executable, "-m", "venv", place),
        (*pip, "--constraint", REPOSITORY / "requirements" / "test.lock", wheel),
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
        assert done.returncode == 0, done.stdout + done.stderr
    return Program([os.fspath(place / "bin" / "indexer")], {"PYTHONPATH": "", "PATH": os.defpath})


def test_the_wheel_holds_the_program_its_migrations_and_nothing_else(wheel: Path) -> None:
    """Migrations and the type marker are inside; tests, scripts and documents are not."""
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith("storage_indexer-")
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"indexer"}
    assert "indexer/py.typed" in names
    for database in ("index", "ledger"):
        shipped = {Path(name).name for name in names if name.startswith(f"indexer/_migrations/{database}/")}
        assert shipped == {path.name for path in (REPOSITORY / "migrations" / database).glob("*.py")}
        assert shipped


def test_the_installed_command_is_the_wheels(installed: Program, wheel: Path) -> None:
    """`--version` is that of the wheel, and the module comes from the environment, not from a source tree."""
    version = wheel.name.split("-")[1]
    assert version in installed.run("--version").stdout
    python = Path(installed.argv[0]).with_name("python")
    where = subprocess.run(
        [python, "-c", "import indexer; print(indexer.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={**installed.environment},
    ).stdout
    assert Path(where).is_relative_to(python.parent.parent)


def test_a_store_lives_its_whole_life_on_the_installed_wheel(installed: Program, tmp_path: Path) -> None:
    """init, scan, watch, settle, plan, report, metrics: what they need was made, migrated or brought by the wheel."""
    store = tmp_path / "store"
    make(store, {"uploads": {"new.mp4": b"new", "old.mp4": File(b"old", mtime=1_000_000_000)}})
    assert installed.json("init", store, "--profile", "media")["classes"]
    assert installed.json("scan", store)["files"] == 2
    with installed.watch(store, "--http", f"unix:{tmp_path}/http.sock") as service:
        make(store, {"frames": {"job-1": {"frames_000001.jpg": b"picture"}}})
        service.settle()
        assert installed.differences(store) == {}
        assert service.status()["files"] == 3
    assert installed.json("plan", store)["refused"] is None
    assert installed.json("-C", store, "report", "usage")["rows"]
    assert installed.json("expire", store, "--dry-run")["dry_run"] is True
    assert "indexer_files{" in installed.run("metrics", store).stdout
