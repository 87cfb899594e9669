"""Where our observers differ from watchdog's own, and why; docs/explanation/watchdog-conformance.md says the same."""

from __future__ import annotations

MERGED = "the kernel merges events of one object that nobody has read yet: a second open and close may be told once"
ONCE = "fanotify tells a change of a directory's attributes once; inotify tells it of the directory and of its parent"
DEVIATIONS: dict[str, dict[str, str]] = {
    "Fanotify": {
        "test_emitter.py::test_file_lifecyle": MERGED,
        "test_emitter.py::test_fast_subdirectory_creation_deletion": MERGED,
        "test_emitter.py::test_chmod_dir": ONCE,
    },
    "Inotify": {},
}
"""Emitter -> test -> why it may fail."""

PRIVATE = "it looks at, or replaces, private parts of watchdog's own emitter, which ours do not have"
INTERNAL: dict[str, str] = {
    "test_inotify_emitter.py::test_observer_does_not_initialize_shared_inotify_fd": PRIVATE,
    "test_inotify_emitter.py::test_observers_have_independent_inotify_fds": PRIVATE,
    "test_inotify_emitter.py::test_observer_delivers_created_events": PRIVATE,
    "test_inotify_emitter.py::test_recursive_watch_ignores_subdirectory_errors": PRIVATE,
    "test_inotify_emitter.py::test_new_directory_filled_while_its_watches_are_added": PRIVATE,
}
"""Tests that cannot be run against another emitter -> why."""
