"""What doctor says about modes, owners, ACLs, the umask, and leases."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce.permissions import Survey, Wanted, examine
from indexer.enforce.places import Places
from indexer.enforce.private import exposed, names
from indexer.errors import UsageError
from indexer.reports.machine import Check
from indexer.syscalls import lease
from indexer.units import count, show_name, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indexer.store import Store

_ENTRY = ("entry", "entries")
_KINDS = {"dir_mode": ("directory", "directories", "mode"), "file_mode": ("file", "files", "mode")}
_FIX = "indexer doctor --fix, after a look at it with -n"


def private_check(store: Store) -> Check:
    """Return whether others can reach the store's own files."""
    found = list(exposed(store))
    return Check(
        "state files",
        ok=not found,
        detail=f"others can reach {len(found)} of them: {names(found)}" if found else "0600 and 0700",
        remedy=_FIX if found else "",
    )


def tree_checks(store: Store) -> Iterator[Check]:
    """Yield what differs from `[permissions]`; one line where nothing is asked for, and then nothing is walked."""
    config = store.config.permissions
    if config == type(config)():
        yield Check("permissions", ok=True, detail="[permissions] asks for nothing: modes and owners are not looked at")
        return
    try:
        wanted = Wanted.of(config)
    except LookupError as error:
        yield Check(
            "permissions", ok=False, detail=str(error.args[0]), remedy="correct owner or group in [permissions]"
        )
        return
    yield umask_check(wanted)
    survey = survey_of(store, wanted)
    for kind in ("dir_mode", "file_mode", "owner", "group"):
        value = getattr(config, kind)
        if value is None:
            continue
        shown = f"{value:04o}" if isinstance(value, int) else show_text(value)
        finding = survey.findings.get(kind)
        one, many, key = _KINDS.get(kind, (*_ENTRY, kind))
        yield Check(
            f"permissions ({kind})",
            ok=finding is None,
            detail=f"{shown}: {_some(survey, kind, (one, many), f'with another {key}')}",
            remedy="" if finding is None else _FIX,
        )
    if survey.count("acl"):
        remedy = "getfacl shows them, setfacl -b removes them; --fix sets modes and leaves ACL entries as they are"
        said = _some(survey, "acl", _ENTRY, "with an ACL, so the mode does not tell all")
        yield Check("permissions (acl)", ok=False, detail=said, remedy=remedy)
    if survey.count("hard_link"):
        said = _some(survey, "hard_link", ("file", "files"), "with several names, never changed")
        yield Check(
            "permissions (hard links)", ok=False, detail=said, remedy="look where else they lie, and chmod them"
        )
    if survey.errors:
        path, text = survey.errors[0]
        said = f"{len(survey.errors)} could not be looked at, first {show_name(path) or 'the root'}: {text}"
        yield Check("permissions (errors)", ok=False, detail=said, remedy="run as their owner, or as root")


def umask_check(wanted: Wanted) -> Check:
    """Return whether this process's umask lets new files have the wanted modes; the store's own never depend on it."""
    mask = os.umask(0o077)
    os.umask(mask)
    lost = [mode for mode in (wanted.dir_mode, wanted.file_mode) if mode is not None and mode & mask]
    least = mask
    for mode in lost:
        least &= ~mode
    return Check(
        "umask",
        ok=not lost,
        detail=f"{mask:04o} here" + ("; what is made under it lacks wanted bits" if lost else ""),
        remedy=f"umask {least:04o} in whatever fills the store" if lost else "",
    )


def survey_of(store: Store, wanted: Wanted, *, mend: bool = False) -> Survey:
    """Walk the store. Raises FilesystemError and OSError when the root cannot be opened."""
    root_fd = store.open_root()
    try:
        with Places(root_fd, store) as places:
            return examine(places, wanted, mend=mend)
    finally:
        os.close(root_fd)


class Mended(NamedTuple):
    """How much `doctor --fix` sets, or would set."""

    entries: int
    """Of the tree."""
    private: int
    """Of the store's own files and directories."""
    skipped: int
    """Files with several names, and what could not be opened or changed."""

    @property
    def total(self) -> int:
        """Return how many changes that is."""
        return self.entries + self.private


def mendable(store: Store) -> Mended:
    """Return what `mend` would do now. Raises UsageError for an owner or a group that this machine does not know."""
    survey = _survey(store)
    skipped = survey.count("hard_link")
    return Mended(survey.differing - skipped, len(list(exposed(store))), skipped + len(survey.errors))


def mend(store: Store) -> Mended:
    """Close the store's own files to others, and give the tree the modes and owners of `[permissions]`."""
    private = len(list(exposed(store, mend=True)))
    survey = _survey(store, mend=True)
    return Mended(survey.changed, private, survey.count("hard_link") + len(survey.errors))


def _survey(store: Store, *, mend: bool = False) -> Survey:
    config = store.config.permissions
    if config == type(config)():
        return Survey()
    try:
        wanted = Wanted.of(config)
    except LookupError as error:
        raise UsageError(str(error.args[0]), remedy="correct owner or group in [permissions]") from error
    return survey_of(store, wanted, mend=mend)


def _some(survey: Survey, kind: str, words: tuple[str, str], what: str) -> str:
    finding = survey.findings.get(kind)
    if finding is None:
        return f"all {count(survey.entries, *_ENTRY)}"
    return f"{count(finding.count, *words)} {what}, such as {show_name(finding.examples[0]) or 'the root'}"


def lease_check(name: str, folder: Path) -> Check:
    """Return whether a lease on a file in `folder` tells who uses it: on NFS and most FUSE none does.

    A scratch file is tried with a second descriptor open (the lease must be refused) and without (it must be granted).
    """
    label = f"in use ({show_text(name)})"
    remedy = 'files whose use cannot be told stay: skip_in_use = "no" in their class removes them all the same'
    if not lease.HAVE_LEASES:
        return Check(label, ok=False, detail="leases cannot tell here: they need Linux", remedy=remedy)
    try:
        other, path = tempfile.mkstemp(prefix="lease-", dir=folder)
    except OSError as error:
        return Check(label, ok=True, detail=f"not tried: {error.strerror}")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with lease.signals_here() as owner:
                refused = _refused(fd, owner)
                os.close(other)
                other = -1
                granted = not _refused(fd, owner)
        finally:
            os.close(fd)
    except OSError as error:
        return Check(label, ok=False, detail=f"leases cannot tell here: {error.strerror}", remedy=remedy)
    finally:
        os.unlink(path)  # by path: in the control directory, or a trash, 0700
        if other >= 0:
            os.close(other)
    if refused and granted:
        return Check(label, ok=True, detail="a lease tells whether somebody has a file open")
    said = "granted though somebody has the file open" if granted else "refused though nobody has the file open"
    return Check(label, ok=False, detail=f"leases cannot tell here: {said}", remedy=remedy)


def _refused(fd: int, owner: bytes) -> bool:
    try:
        lease.take(fd, lease.WRITE, owner)
    except BlockingIOError:
        return True
    return False
