"""A program of any name that reads files when it is told to, and lives on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self


class Reading:
    """A shell under another name, whose working directory is `place`."""

    def __init__(self, place: Path, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        program = Path(self._folder.name) / name
        shutil.copy("/bin/sh", program)
        self._process = subprocess.Popen(
            [program], cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def read(self, name: str) -> None:
        """Open `name` for reading, read a line, close it."""
        self._do(f"read -r line < {name}")

    def write(self, name: str) -> None:
        """Append a line to `name`."""
        self._do(f"echo line >> {name}")

    def _do(self, what: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}; echo done\n")
        assert self._process.stdout.readline() == "done\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._folder.cleanup()
