"""What every test may ask for: the program, filesystems of its own, another user, a directory others may enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.capabilities import require
from tests.mounts import mounted
from tests.program import PATIENCE, REPOSITORY, Program

settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")

NOBODY = 65534


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--soak`."""
    parser.addoption("--soak", action="store_true", help="also run the tests that take minutes or hours")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long runs out unless asked for."""
    if config.getoption("--soak"):
        return
    chosen = [item for item in items if "soak" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "soak" in item.keywords])
    items[:] = chosen


@pytest.fixture(scope="session", autouse=True)
def _nothing_too_deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove what pytest's own clean-up would fail on: it recurses, and some trees are thousands of levels deep."""
    yield
    base = os.fspath(tmp_path_factory.getbasetemp())
    levels = ("-mindepth", "100", "-maxdepth", "100")
    deep = subprocess.run(["find", base, *levels, "-print0"], capture_output=True, check=False).stdout
    tops = {path.removeprefix(os.fsencode(base) + b"/").partition(b"/")[0] for path in deep.split(b"\0") if path}
    for top in tops:
        subprocess.run([b"rm", b"-rf", os.path.join(os.fsencode(base), top)], check=True)


@pytest.fixture
def program() -> Program:
    """Return the command line of this source tree."""
    return Program()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return `mount(kind, size=MiB, options=…, inodes=…) -> Path`: empty filesystems, unmounted after the test."""
    scratch = tmp_path / "mounts"
    scratch.mkdir()
    with ExitStack() as stack:
        yield lambda kind, **wishes: stack.enter_context(mounted(kind, scratch, **wishes))


@pytest.fixture
def public_tmp() -> Iterator[Path]:
    """Return an empty directory that other users may enter (pytest's own are private to the user who runs it)."""
    path = Path(tempfile.mkdtemp(prefix="indexer-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_user() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return `as_user(uid, argv, **kwargs)`: run a program as another user, without any capability."""
    require("CAP_SYS_ADMIN")

    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}

    def run(uid: int, argv: list[str], **wishes: Any) -> subprocess.CompletedProcess[str]:
        chosen: dict[str, Any] = {"cwd": "/", "env": environment, "timeout": PATIENCE, **wishes}
        return subprocess.run(
            argv, user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False, **chosen
        )

    return run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of what is committed, built from a clean clone, so that no stray file can be in it."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("needs a git checkout to clone")
    place = tmp_path_factory.mktemp("wheel")
    settings = place / "gitconfig"  # a checkout of somebody else's is cloned, too (git-config(1), safe.directory)
    settings.write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.fspath(settings)}
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("git", "clone", "--quiet", REPOSITORY, place / "clone"),
        (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, place / "clone"),
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(place / "clone")
    return next(place.glob("*.whl"))
