"""The real programs that fill the store: ffmpeg, pip, git, rsync, tar, and a person who renames and removes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.trees import File, HardLink, Symlink, hostile_names, make

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Job:
    """Where the programs work, and how much they are given to do."""

    root: Path
    outside: Path
    """A directory beside the store, for what is copied and cloned from."""
    seconds: int
    """Length of the video at 25 pictures a second."""
    picture: str
    package: str
    """What pip installs: a name, or a wheel."""
    files: int
    """How many files the repository and the archive have."""


def prepare(job: Job) -> None:
    """Make a repository to clone and an archive with old times, links and hostile names, beside the store."""
    packages = {
        f"package{package}": {
            f"module{number}.py": b"x = 1\n" * (number % 50) for number in range(package, job.files, 20)
        }
        for package in range(20)
    }
    make(job.outside / "repository", packages)
    git = ("git", "-C", job.outside / "repository", "-c", "user.name=x", "-c", "user.email=x@example.invalid")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        _run(*git, *command)
    old = time.time() - 400 * DAY
    archive: dict[str | bytes, Any] = {
        f"{year}": {
            f"picture{number}.raw": File(size=number * 7, mtime=old + number) for number in range(job.files // 10)
        }
        for year in range(2014, 2018)
    }
    archive["odd names"] = dict.fromkeys(hostile_names(seed=7, count=60), File(b"odd", mtime=old))
    archive["links"] = {"to a name": Symlink("../2014/picture1.raw"), "to nothing": Symlink("nowhere")}
    archive["again.raw"] = HardLink("2014/picture1.raw")
    make(job.outside / "archive", archive)
    _run("tar", "-C", job.outside / "archive", "-cf", job.outside / "archive.tar", ".")


def _render(job: Job) -> None:
    (job.root / "uploads").mkdir()
    source = f"testsrc=duration={job.seconds}:size={job.picture}:rate=25"
    _run(*FFMPEG, "-f", "lavfi", "-i", source, "-c:v", "mpeg4", job.root / "uploads" / "film.mp4")


def _frames(job: Job) -> None:
    target = job.root / "frames" / "job-1"
    target.mkdir(parents=True)
    _run(*FFMPEG, "-i", job.root / "uploads" / "film.mp4", target / "frames_%06d.jpg")


def _contact_sheet(job: Job) -> None:
    (job.root / "contact-sheets").mkdir()
    sheet = job.root / "contact-sheets" / "job-1.jpg"
    _run(*FFMPEG, "-i", job.root / "uploads" / "film.mp4", "-vf", "scale=80:-1,tile=5x5", "-frames:v", "1", sheet)


def _pip(job: Job) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-warn-script-location")
    _run(sys.executable, "-m", "pip", "install", *quiet, "--target", job.root / "temp" / "site", job.package)


def _clone(job: Job) -> None:
    """Clone by path, so that git makes hard links to files outside of the store where it can."""
    _run("git", "clone", "--quiet", job.outside / "repository", job.root / "temp" / "clone")


def _rsync(job: Job) -> None:
    _run("rsync", "-a", f"{job.outside}/archive/", job.root / "uploads" / "archive")


def _tar(job: Job) -> None:
    (job.root / "outputs" / "unpacked").mkdir(parents=True)
    _run("tar", "-C", job.root / "outputs" / "unpacked", "-xpf", job.outside / "archive.tar")


def _rename(job: Job) -> None:
    """Rename directories within the store, one of them back in from outside of it."""
    (job.root / "frames" / "job-1").rename(job.root / "frames" / "job-2")
    (job.root / "temp" / "clone").rename(job.outside / "clone")
    (job.outside / "clone").rename(job.root / "outputs" / "clone")


def _remove(job: Job) -> None:
    shutil.rmtree(job.root / "temp" / "site")
    _run("git", "-C", job.root / "outputs" / "clone", "rm", "-r", "--quiet", "package1")


FFMPEG = ("ffmpeg", "-loglevel", "error", "-nostdin", "-y")

STEPS: tuple[tuple[str, Callable[[Job], None]], ...] = (
    ("`ffmpeg` renders a video", _render),
    ("`ffmpeg` extracts its frames", _frames),
    ("`ffmpeg` makes a contact sheet", _contact_sheet),
    ("`pip install --target`", _pip),
    ("`git clone` of a local repository", _clone),
    ("`rsync -a` of a tree with old times", _rsync),
    ("`tar x`", _tar),
    ("renames of directories, out and back in", _rename),
    ("removal of a tree, and `git rm -r`", _remove),
)


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr + done.stdout)
