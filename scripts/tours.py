"""Runs the `console` blocks of the documents, so that what they show is what the program prints.

All blocks of one document run in order in one empty directory, which is shown as /srv/media. Lines that start with
`$ ` are commands for bash, continued by lines that start with `> `; the lines below are their output. A command that
ends in ` &` goes on in the background, is shown until it says `ready`, and is stopped at the end of the document.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = tuple(REPOSITORY / name for name in ("README.md", "docs/tutorial.md"))
SHOWN = "/srv/media"
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ .*\n(?:>(?: .*)?\n)*", re.MULTILINE)
_VARYING = re.compile(r"\b[0-9a-f]{12}\b|\bnow\b|(?:in )?(?:\d+[wdhms])+(?: ago)?|\d[\d.,:TZ-]*")
"""A policy's fingerprint, how long ago, and any number or time."""
_DAYS = re.compile(r"(?:^\d{4}-\d{2}-\d{2} .*\n)+", re.MULTILINE)
"""Rows of a table by day. On which of two days something falls, and so their order, depends on the hour of the run."""
_GAPS = re.compile(r"[ \t─━-]+")


class Tour:
    """One document's commands, in a directory of their own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.background: list[subprocess.Popen[str]] = []
        beside = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        shown = {"COLUMNS": "110", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        self.environment = {**os.environ, **shown, "PATH": beside}
        for inherited in ("INDEXER_STORE", "INDEXER_CONFIG", "XDG_STATE_HOME"):
            self.environment.pop(inherited, None)

    def rendered(self, text: str) -> str:
        """Return the document with the output that its commands have now."""
        try:
            return _BLOCK.sub(lambda block: self._block(block.group()), text)
        finally:
            for process in self.background:
                process.send_signal(signal.SIGTERM)
            for process in self.background:
                process.communicate(timeout=60)

    def _block(self, block: str) -> str:
        text = []
        for typed in _COMMAND.findall(block):
            command = "\n".join(line[2:] for line in typed.splitlines())
            text.append(typed + self._output(command))
        return "".join(text)

    def _output(self, command: str) -> str:
        process = subprocess.Popen(
            ["bash", "-c", command.removesuffix(" &")],
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if not command.endswith(" &"):
            output = process.communicate(timeout=300)[0]
        else:
            assert process.stdout is not None
            self.background.append(process)
            lines: list[str] = []
            while not lines or not lines[-1].startswith("ready"):
                line = process.stdout.readline()
                assert line, f"{command}: ended before it was ready: {lines}"
                lines.append(line)
            output = "".join(lines)
        shown = "\n".join(line.rstrip() for line in output.replace(os.fspath(self.place), SHOWN).splitlines())
        return f"{shown.rstrip()}\n" if shown.strip() else ""


def rendered(document: Path) -> str:
    """Return `document` with the output that its commands have now."""
    with tempfile.TemporaryDirectory(prefix="indexer-tour-") as place:
        return Tour(Path(place)).rendered(document.read_text(encoding="utf-8"))


def comparable(text: str) -> str:
    """Return `text` without what differs from run to run: numbers, times, and the widths and orders that follow."""

    def plain(some: str) -> str:
        return _GAPS.sub(" ", _VARYING.sub("#", some))

    ordered = _DAYS.sub(lambda rows: "".join(sorted(rows.group().splitlines(keepends=True), key=plain)), text)
    return plain(ordered)


def main() -> None:
    """Write the output of all documents' commands, or of those named on the command line."""
    for document in [Path(name).resolve() for name in sys.argv[1:]] or DOCUMENTS:
        text = rendered(document)
        if comparable(text) != comparable(document.read_text(encoding="utf-8")):
            document.write_text(text, encoding="utf-8")
            print(f"changed: {document.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
