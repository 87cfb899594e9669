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

from tests.capabilities import needs
from tests.conformance.deviations import DEVIATIONS, INTERNAL
from tests.program import REPOSITORY

FILES = ("test_emitter.py", "test_observer.py", "test_observers_api.py", "test_inotify_emitter.py")
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


@pytest.mark.parametrize("emitter", [pytest.param("Fanotify", marks=needs("CAP_SYS_ADMIN")), "Inotify"])
def test_our_emitters_pass_its_tests(source: Path, tmp_path: Path, emitter: str) -> None:
    """Whatever does not is declared, with its reason; so is whatever cannot be run."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.xml"
    command: list[str | Path] = [
        *(sys.executable, "-m", "pytest", "-q", "-c", tmp_path / "pytest.ini", "--rootdir", source),
        *("-p", "adapter", "-p", "no:cacheprovider", "-W", "ignore", "--junit-xml", report),
        *(f"--deselect=tests/{test}" for test in INTERNAL),
        *(f"tests/{name}" for name in FILES),
    ]
    here = Path(__file__).parent
    environment = {**os.environ, "CONFORMANCE": emitter, "PYTHONPATH": f"{here}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    failed, passed = set(), 0
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it just now
        name = f"{case.attrib['classname'].removeprefix('tests.')}.py::{case.attrib['name']}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
        elif case.find("skipped") is None:
            passed += 1
    assert failed <= DEVIATIONS[emitter].keys(), done.stdout
    assert passed >= 70


def test_every_deviation_is_documented() -> None:
    """By the name of the test that shows it, and with its reason."""
    text = DOCUMENT.read_text(encoding="utf-8")
    declared = {name: why for each in (*DEVIATIONS.values(), INTERNAL) for name, why in each.items()}
    for name, why in declared.items():
        assert name.partition("::")[2] in text, name
        assert why in text, why
