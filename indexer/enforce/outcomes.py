"""The words that the ledger, the results and the reports use for what became of a file; the reference lists them."""

from __future__ import annotations

from typing import Final

OUTCOMES: Final = {
    "trashed": "moved to the trash; `restore` brings it back until restorable_until",
    "sent": "moved to the desktop's trash; the desktop brings it back",
    "deleted": "destroyed (or, for a directory, removed)",
    "destroying": "its child is about to be destroyed as a whole; found after a crash, it is brought to its end",
    "kept": "left where it was, or put back; `error` says why in one of the words below",
    "failed": "a system call failed; `error` starts with the name of its errno",
    "stray": "it lies in the trash though it should not, because it could not be put back; `restore` can",
    "unknown": "neither in the trash nor in its place after a crash: gone, by us or by somebody else",
    "restoring": "on its way out of the trash, back to its place",
    "restored": "brought back from the trash, to restored_to",
    "purging": "about to be destroyed in the trash",
    "purged": "destroyed in the trash",
}

KEPT: Final = {
    "in_use": "somebody has it open or mapped (the lease was refused)",
    "opened": "somebody opened it while it was being removed (the lease was broken): put back",
    "locked": "somebody holds a flock on its directory or on one above it",
    "cannot_tell": "no lease is possible here (filesystem, or a file of somebody else), so its use is unknown",
    "changed": "another file than the indexed one has the name, or it was written since: the row is refreshed",
    "gone": "it is no longer there: the row is refreshed",
    "not_a_file": "neither a regular file nor a symlink",
    "replaced": "another object had taken its name at the moment of the rename: that object was put back",
    "directory_moved": "its directory was moved or exchanged while it was being removed: put back",
    "other_filesystem": "it, or its directory, lies on a filesystem that the configuration does not name",
    "other_project": "a project quota stands between it and the trash (EXDEV): never copied; `delete` can remove it",
    "not_mounted": "the filesystem that the configuration names there is not mounted now",
    "protected": "it belongs to a store, this one or another: control directory, state, trash or configuration",
    "held": "a hold covers it",
    "leased": "a lease of an application covers it",
    "unavailable": "its class's action is not available here: no desktop, or no send2trash",
    "new_file": "a file has come into its child since it was planned: the child is as young as that",
    "incomplete": "another file of its child could not be removed, so that all of the child stays",
    "interrupted": "the run was interrupted before its turn came",
    "suspended": "the run gave up after too many failures in a row",
    "rolled_back": "a crash was found in the middle of its removal: put back, or found in its place",
}
"""Why a file that was planned stayed, beside the policy's own words (not_due, other_class, too_young, …)."""
