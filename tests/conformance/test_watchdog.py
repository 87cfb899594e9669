"""watchdog's own tests of emitters and observers, from the source of the installed version, run against ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.capabilities import missing, needs
from tests.conformance.deviations import INTERNAL, LATE
from tests.program import REPOSITORY

TESTS = (
    *("test_emitter.py", "test_observer.py", "test_observers_api.py", "test_inotify_emitter.py"),
    *(f"test_inotify_c.py::{name}" for name in ("test_non_ascii_path", "test_watch_file", "test_select_fd")),
)
DOCUMENT = REPOSITORY / "docs" / "explanation" / "watchdog-conformance.md"


@pytest.fixture(scope="module")
def source() -> Path:
    """Return the unpacked source distribution of the installed watchdog, downloaded once."""
    wanted = f"watchdog-{version('watchdog')}"
    cache = REPOSITORY / ".cache" / "conformance"
    place = cache / wanted
    if not (place / "tests").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        options = ("--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(cache))
        command = (sys.executable, "-m", "pip", "download", *options, wanted.replace("-", "=="))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(cache.glob(f"{wanted}.tar.gz"))
        if not archives:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            pytest.skip(f"needs the source distribution of {wanted}: {' '.join(last)}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(cache, filter="data")
    return place


EMITTERS = ("Fanotify", "Inotify")


class Running:
    """One pytest over watchdog's tests, in the background."""

    def __init__(self, source: Path, place: Path, emitter: str) -> None:
        place.mkdir()
        (place / "pytest.ini").write_text("[pytest]\n")
        self._report = place / "report.xml"
        command: list[str | Path] = [
            *(sys.executable, "-m", "pytest", "-q", "-c", place / "pytest.ini", "--rootdir", source),
            *("-p", "adapter", "-p", "no:cacheprovider", "-W", "ignore", "--junit-xml", self._report),
            *(f"--deselect=tests/{test}" for test in INTERNAL[emitter]),
            *(f"tests/{name}" for name in TESTS),
        ]
        here = Path(__file__).parent
        environment = {**os.environ, "CONFORMANCE": emitter, "PYTHONPATH": f"{here}{os.pathsep}{REPOSITORY}"}
        self._process = subprocess.Popen(
            command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def result(self) -> tuple[set[str], int, str]:
        """Wait; return which tests failed, how many passed, and what was said."""
        said, _ = self._process.communicate()
        assert self._process.returncode in {0, 1}, said
        failed, passed = set(), 0
        for case in ET.parse(self._report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it just now
            name = f"{case.attrib['classname'].removeprefix('tests.')}.py::{case.attrib['name']}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(name)
            elif case.find("skipped") is None:
                passed += 1
        return failed, passed, said


@pytest.fixture(scope="module")
def running(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Running]:
    """Start both side by side: they wait most of the time."""
    place = tmp_path_factory.mktemp("conformance")
    possible = EMITTERS[1:] if missing("CAP_SYS_ADMIN") else EMITTERS
    return {emitter: Running(source, place / emitter, emitter) for emitter in possible}


@pytest.mark.parametrize("emitter", [pytest.param("Fanotify", marks=needs("CAP_SYS_ADMIN")), "Inotify"])
def test_our_emitters_pass_its_tests(running: dict[str, Running], emitter: str) -> None:
    """All that mean something for them."""
    failed, passed, said = running[emitter].result()
    assert not failed, said
    assert passed >= 78


def test_every_deviation_is_documented() -> None:
    """By the name of the test that shows it, and with its reason."""
    text = DOCUMENT.read_text(encoding="utf-8")
    declared = {name: why for each in (*LATE.values(), *INTERNAL.values()) for name, why in each.items()}
    for name, why in declared.items():
        assert name.partition("::")[2] in text, name
        assert why in text, why
