"""Where our observers differ from watchdog's own, and why; docs/explanation/watchdog-conformance.md says the same."""

from __future__ import annotations

MERGED = "the kernel merges events of one object that nobody has read yet: a second open and close may be told once"
LATE: dict[str, dict[str, str]] = {
    "Fanotify": {
        "test_emitter.py::test_file_lifecyle": MERGED,
        "test_emitter.py::test_fast_subdirectory_creation_deletion": MERGED,
    },
    "Inotify": {},
}
"""Emitter -> test -> why it waits after each of its steps until that has been read."""

SHARED = "watchdog's observer has one reader, which lives before it starts; each of our emitters reads for itself"
SINGLE = "it makes the watch of one directory fail, and there is none: one mark covers all of them"
INTERNAL: dict[str, dict[str, str]] = {
    "Fanotify": {
        "test_inotify_emitter.py::test_observers_have_independent_inotify_fds": SHARED,
        "test_inotify_emitter.py::test_recursive_watch_ignores_subdirectory_errors": SINGLE,
    },
    "Inotify": {"test_inotify_emitter.py::test_observers_have_independent_inotify_fds": SHARED},
}
"""Emitter -> test that means nothing for it -> why."""
