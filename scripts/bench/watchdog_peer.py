"""The yardstick of the storm: watchdog's own InotifyObserver with a handler that does next to nothing.

    python -m scripts.bench.watchdog_peer ROOT default|filter

Prints `ready`; on a line of standard input prints how many files it has seen created, as JSON, and ends. `default` is
what a reader of watchdog's documentation gets; `filter` asks only for the events that matter here.
"""

from __future__ import annotations

import json
import sys

from watchdog.events import FileClosedEvent, FileCreatedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver


class Count(FileSystemEventHandler):
    """Counts, so that a loss can be told; an empty handler could not."""

    created = 0

    def on_created(self, event: FileSystemEvent) -> None:
        """One more file."""
        if not event.is_directory:
            self.created += 1


def main() -> None:
    """Watch until told to report."""
    root, mask = sys.argv[1:]
    handler = Count()
    observer = InotifyObserver()
    chosen = [FileCreatedEvent, FileClosedEvent] if mask == "filter" else None
    observer.schedule(handler, root, recursive=True, event_filter=chosen)
    observer.start()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"created": handler.created}), flush=True)
    observer.stop()
    observer.join(10)


if __name__ == "__main__":
    main()
