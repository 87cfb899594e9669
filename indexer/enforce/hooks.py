"""Named windows between any two system calls of the recipe, so that tests can stage an attack or a crash in each.

In production `at` does nothing (0.05 µs a call, measured); tests replace it. Call it as `hooks.at(…)`, through the
module, or the replacement is not seen.
"""

from __future__ import annotations

from typing import Final

WINDOWS: Final = (
    "run.begun",  # the run is in the ledger
    "ledger.before",  # the outcomes of the last batch, and the intents of the next
    "ledger.after",  # the next batch may now be touched
    "directory.opened",  # resolved from the root
    "directory.locked",  # nobody holds a flock on it or above it
    "file.pinned",  # O_PATH
    "file.examined",  # identity and policy agree
    "file.reopened",  # O_RDONLY through /proc/self/fd
    "file.leased",
    "rename.before",
    "rename.after",
    "directory.verified",  # resolved from the root again
    "file.verified",  # the object in the trash is the pinned one, its lease whole
    "directory.renamed",  # all of a directory lies in the trash in one piece, not yet looked at there
    "directory.checked",  # every entry is what was pinned: now each goes to its own place in the trash
    "child.staged",  # all files of a child that goes as one lie in the trash; whether it may is asked once more
    "child.decided",  # the ledger knows that it may
    "unlink.before",
    "unlink.after",
    "send.before",  # to the desktop's trash, by path
    "send.after",
    "back.before",  # something differed: it is renamed back
    "back.after",
    "rmdir.before",
    "rmdir.after",
    "sync.before",
    "sync.after",
    "finish.before",
    "finish.after",
    "restore.before",
    "restore.after",
    "mkdir.before",  # a directory that a restore needs is made in the trash …
    "mkdir.made",
    "mkdir.after",  # … and renamed into its place
    "purge.before",
    "purge.after",
    "recover.before",
    "recover.after",
    "archive.synced",  # written, not yet renamed into place
    "archive.written",  # in place, not yet out of the ledger
)


def at(window: str, name: bytes = b"") -> None:
    """Stand in the window `window` of WINDOWS, about the directory entry `name`; does nothing."""
