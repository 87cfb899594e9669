"""What a run did: counted while it runs, then a frozen value with the keys of CONTRACT §4."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexer.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_SOME_FAILED
from indexer.units import text_of

if TYPE_CHECKING:
    from indexer.enforce.victim import Victim
    from indexer.policy.plan import Plan
    from indexer.records import Identity


@dataclass(frozen=True, slots=True)
class ClassResult:
    """What a run did in one class; bytes are allocated bytes."""

    files_removed: int = 0
    bytes_freed: int = 0
    bytes_trashed: int = 0

    def as_json(self) -> dict[str, int]:
        """Return the three figures under their names."""
        return {
            "files_removed": self.files_removed,
            "bytes_freed": self.bytes_freed,
            "bytes_trashed": self.bytes_trashed,
        }


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of `expire` and `cleanup`."""

    run: int | None = None
    """Its id in the ledger; None for a dry run."""
    also: tuple[int, ...] = ()
    """Runs of its watermarks, each with an id of its own."""
    dry_run: bool = False
    files_removed: int = 0
    bytes_freed: int = 0
    """Allocated bytes really returned: last link gone, not in the trash."""
    bytes_trashed: int = 0
    directories_removed: int = 0
    truncated: bool = False
    index_age_seconds: int | None = None
    kept: dict[str, int] = field(default_factory=dict)
    errors: tuple[tuple[bytes, str], ...] = ()
    classes: dict[str, ClassResult] = field(default_factory=dict)
    refused: str | None = None
    message: str = ""
    """Of the guard that refused, for people."""
    remedy: str = ""
    interrupted: bool = False
    suspended: bool = False
    """It gave up after too many failures in a row."""
    skipped: bool = False
    """It was not wanted any more; nothing was looked at, and nothing is recorded."""
    purged_files: int = 0
    """Files that had lain in the trash past their time, destroyed by a cleanup before anything else."""
    purged_bytes: int = 0
    """Their allocated bytes, also part of bytes_freed."""
    watermarks: tuple[dict[str, Any], ...] = ()
    """What was done about filesystems that were too full (`service.pressure.Relief`)."""
    notices: dict[str, Any] | None = None
    """What was published of removals to come (`service.noticing.Told`); None: nothing was to be published here."""

    @property
    def exit_code(self) -> int:
        """Return what the command line exits with."""
        if self.refused is not None:
            return EXIT_REFUSED
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_SOME_FAILED if self.errors else EXIT_DONE

    def as_json(self) -> dict[str, Any]:
        """Return the document of `expire --json` and `cleanup --json`; undecodable path bytes are escaped."""
        return {
            "run": self.run,
            "runs": [*([] if self.run is None else [self.run]), *self.also],
            "dry_run": self.dry_run,
            "files_removed": self.files_removed,
            "bytes_freed": self.bytes_freed,
            "bytes_trashed": self.bytes_trashed,
            "directories_removed": self.directories_removed,
            "truncated": self.truncated,
            "index_age_seconds": self.index_age_seconds,
            "kept": dict(sorted(self.kept.items())),
            "errors": [{"path": text_of(path), "error": error} for path, error in self.errors],
            "classes": {name: part.as_json() for name, part in sorted(self.classes.items())},
            "refused": self.refused,
            "interrupted": self.interrupted,
            "suspended": self.suspended,
            "skipped": self.skipped,
            "purged_files": self.purged_files,
            "purged_bytes": self.purged_bytes,
            "watermarks": list(self.watermarks),
            "notices": self.notices,
        }

    @classmethod
    def planned(cls, plan: Plan, *, index_age_seconds: int | None = None) -> RunResult:
        """Return the result of a dry run: what a run of this plan would do if nothing changed.

        Blocks of a file with several names come free with the last one, where all of them go.
        """
        tally = Tally()
        names: dict[Identity, int] = {}
        for remove in plan.actions:
            last = remove.file.links <= 1
            if not last:
                seen = names[remove.file.identity] = names.get(remove.file.identity, 0) + 1
                last = seen == remove.file.links
            trash = remove.action != "delete"
            tally.removed(
                remove.rule.name,
                0 if trash or not last else remove.file.allocated,
                remove.file.allocated if trash else 0,
            )
        result = tally.result(None, plan)
        return replace(
            result,
            bytes_freed=result.bytes_freed + plan.trash.allocated,
            directories_removed=len(plan.empty),
            purged_files=plan.trash.files,
            purged_bytes=plan.trash.allocated,
            watermarks=tuple(pressure.as_json() for pressure in plan.pressure),
            dry_run=True,
            index_age_seconds=index_age_seconds,
            refused=str(plan.refused.guard) if plan.refused else None,
            message=plan.refused.message if plan.refused else "",
            remedy=plan.refused.remedy if plan.refused else "",
        )


class Tally:
    """The running count of one run."""

    def __init__(self) -> None:
        self.classes: dict[str, list[int]] = {}
        self.kept: dict[str, int] = {}
        self.errors: list[tuple[bytes, str]] = []
        self.directories = 0
        self.failures_in_a_row = 0

    def removed(self, class_name: str, freed: int, trashed: int) -> None:
        """Count one file that went."""
        part = self.classes.setdefault(class_name, [0, 0, 0])
        part[0] += 1
        part[1] += freed
        part[2] += trashed

    def keep(self, why: str, count: int = 1) -> None:
        """Count what stayed."""
        self.kept[why] = self.kept.get(why, 0) + count

    def victim(self, victim: Victim) -> None:
        """Count one victim by its outcome."""
        outcome = victim.outcome
        if outcome in {"trashed", "deleted", "sent"}:
            allocated = victim.stat.blocks * 512 if victim.stat is not None else 0
            deleted = outcome == "deleted"
            self.removed(victim.remove.rule.name, victim.freed if deleted else 0, 0 if deleted else allocated)
            self.failures_in_a_row = 0
        elif outcome == "kept":
            self.keep(victim.error or "")
            self.failures_in_a_row = 0
        else:
            self.errors.append(
                (victim.path, f"{outcome}: {victim.error}" if outcome != "failed" else victim.error or "")
            )
            self.failures_in_a_row += 1

    def result(self, run: int | None, plan: Plan, *, interrupted: bool = False, suspended: bool = False) -> RunResult:
        """Return the frozen result; `kept` has the plan's own reasons too."""
        kept = dict(self.kept)
        for why, count in plan.kept.items():
            kept[str(why)] = kept.get(str(why), 0) + count
        classes = {name: ClassResult(*part) for name, part in self.classes.items()}
        return RunResult(
            run=run,
            files_removed=sum(part.files_removed for part in classes.values()),
            bytes_freed=sum(part.bytes_freed for part in classes.values()),
            bytes_trashed=sum(part.bytes_trashed for part in classes.values()),
            directories_removed=self.directories,
            truncated=plan.truncated,
            kept=kept,
            errors=tuple(self.errors),
            classes=classes,
            interrupted=interrupted,
            suspended=suspended,
        )
