"""`scripts/indexer`: the first of the two commands that a fresh machine needs nothing for but Python and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import REPOSITORY

pytestmark = pytest.mark.packaging

NEEDED = ("indexer", "migrations", "scripts", "requirements", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this source tree, without any environment, under a path with a space."""
    copy = tmp_path_factory.mktemp("a checkout")
    for name in NEEDED:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which this very interpreter is the one that is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INDEXER_", "PYTHON"))}
    return {**kept, "PYTHON": sys.executable, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def start(program: Path, environment: dict[str, str], *argv: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the launcher."""
    return subprocess.Popen(
        [program, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment
    )


def test_two_first_starts_make_one_environment(checkout: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """From any directory, by a link, at the same time: both run, one line is said, and the next start says nothing."""
    link = tmp_path / "link"
    link.symlink_to(os.path.relpath(checkout / "scripts" / "indexer", tmp_path))
    # A stranger's modules in the current directory are not imported.
    for module in ("indexer", "click", "sitecustomize", "venv", "pip", "ensurepip"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('hijacked')")
    both = [
        start(program, environment, "--version", cwd=tmp_path) for program in (link, checkout / "scripts" / "indexer")
    ]
    outputs = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [stdout.startswith("indexer, version ") for stdout, _ in outputs] == [True, True]
    assert sorted(stderr for _, stderr in outputs) == ["", "indexer: preparing its Python environment (once)\n"]
    again = start(link, environment, "--version", cwd=tmp_path)
    assert again.communicate(timeout=60) == (outputs[0][0], "")


def test_a_changed_project_updates_the_environment(checkout: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """A new dependency is there at the next start; exit codes and arguments pass through."""
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text() + "\n# changed\n")
    process = start(checkout / "scripts" / "indexer", environment, "config", "check", "none such.toml", cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=280)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.startswith("indexer: preparing its Python environment (once)\nindexer: none such.toml: No such file")
    made_for = checkout / ".cache" / "venv" / "made-for.toml"
    assert made_for.read_bytes() == project.read_bytes()


def test_an_interrupted_environment_is_made_again(checkout: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Whatever is left of it."""
    venv = checkout / ".cache" / "venv"
    shutil.rmtree(venv)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text("half")
    process = start(checkout / "scripts" / "indexer", environment, "--version", cwd=tmp_path)
    stdout, _ = process.communicate(timeout=280)
    assert (process.returncode, stdout.startswith("indexer, version ")) == (0, True)


def test_without_a_python_there_is_a_clear_error(checkout: Path, tmp_path: Path) -> None:
    """Exit 2 and what is needed."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "readlink", "dirname", "cksum", "cut", "cmp"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    environment = {"PATH": str(tools), "HOME": str(tmp_path), "INDEXER_VENV": str(tmp_path / "venv")}
    process = start(checkout / "scripts" / "indexer", environment, "--version", cwd=tmp_path)
    assert process.communicate(timeout=60) == (
        "",
        "scripts/indexer: needs Python 3.11 or newer; set PYTHON=/path/to/python3\n",
    )
    assert process.returncode == 2
