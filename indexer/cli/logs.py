"""What a service logs: lines for people on a terminal, one JSON object a line for everybody else."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from indexer.units import show_text


class TextFormatter(logging.Formatter):
    """File names in a log can upset neither a terminal nor whoever reads it line by line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with everything unprintable escaped, tracebacks line by line."""
        first, *trace = (show_text(line) for line in super().format(record).split("\n"))
        if store := getattr(record, "store", ""):
            first += f" [{show_text(store)}]"
        if (state := getattr(record, "state", None)) is not None:
            first += f": {json.dumps(state, default=str)}"
        return "\n".join([first, *trace])


class JsonFormatter(logging.Formatter):
    """One object a record: `time` (ISO 8601, UTC), `level`, `logger`, `message`; `store`, `state` and `error` if known.

    Names in `message` are escaped as on a terminal, and everything beyond ASCII as JSON does it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        document: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": show_text(record.getMessage()),
        }
        for key in ("store", "state"):
            if (value := getattr(record, key, None)) is not None:
                document[key] = show_text(value) if isinstance(value, str) else value
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def log_to_stderr(*, verbose: bool = False, quiet: bool = False) -> None:
    """Send the process's log to standard error.

    A terminal gets warnings (`verbose`: all that happens), since who watches it sees the notes of the command too; a
    log file gets all that happens unless `quiet`.
    """
    terminal = sys.stderr.isatty()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if terminal else JsonFormatter())
    chatty = verbose or not (terminal or quiet)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("indexer").setLevel(logging.INFO if chatty else logging.WARNING)
