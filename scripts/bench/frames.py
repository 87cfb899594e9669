"""The tree that is measured: frames of video jobs, 1,000 a directory, as a media pipeline leaves them."""

from __future__ import annotations

import os
from pathlib import Path

PER_JOB = 1_000


def make(root: Path, files: int, *, expired: int = 0, age: float = 0.0) -> None:
    """Create `files` empty files `frames/job-NNNN/frames_NNNNNN.jpg`; spread evenly, `expired` of them `age` s old.

    Empty, because what is measured is names and metadata: a million of them then fits a small disk.
    """
    every = files // expired if expired else 0
    for start in range(0, files, PER_JOB):
        job = root / "frames" / f"job-{start // PER_JOB:04d}"
        job.mkdir(parents=True)
        fd = os.open(job, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for number in range(start, min(start + PER_JOB, files)):
                name = f"frames_{number:06d}.jpg"
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=fd))
                if every and number % every == 0 and number < expired * every:
                    status = os.stat(name, dir_fd=fd)
                    os.utime(name, (status.st_atime - age, status.st_mtime - age), dir_fd=fd)
        finally:
            os.close(fd)
