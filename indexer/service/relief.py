"""What was done about full filesystems, and the result of a cleanup with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from indexer.enforce.result import ClassResult, RunResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.policy.watermark import Shortage

STOPPED = {
    "": "the low mark was reached",
    "exhausted": "nothing more may go: held, in use, too young, or in no class of the order",
    "disappointed": "less than half of what was removed came free: open files, hard links, snapshots, other writers",
    "refused": "a guard refused what would have had to go",
    "interrupted": "the run was stopped",
}
"""Why a watermark stopped (`stopped` of `watermarks`)."""


@dataclass(frozen=True, slots=True)
class Relief:
    """What was done about one filesystem. Sizes are bytes, as statvfs tells them."""

    filesystem: str
    shortage: Shortage
    purged_files: int = 0
    purged_bytes: int = 0
    gained_bytes: int = 0
    gained_files: int = 0
    stopped: str = ""
    results: tuple[RunResult, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return one element of `watermarks` in the result of a cleanup."""
        return {
            "filesystem": self.filesystem,
            "mark": self.shortage.mark,
            "needed_bytes": self.shortage.bytes,
            "needed_files": self.shortage.files,
            "purged_files": self.purged_files,
            "purged_bytes": self.purged_bytes,
            "gained_bytes": self.gained_bytes,
            "gained_files": self.gained_files,
            "stopped": self.stopped,
        }


def merged(result: RunResult, reliefs: Sequence[Relief]) -> RunResult:
    """Return the result of the whole cleanup: what its watermarks did added to the rest."""
    if not reliefs:
        return result
    classes, kept, errors = dict(result.classes), dict(result.kept), list(result.errors)
    refused = result
    every = [one for relief in reliefs for one in relief.results]
    for one in every:
        for name, part in one.classes.items():
            had = classes.get(name, ClassResult())
            classes[name] = ClassResult(
                had.files_removed + part.files_removed,
                had.bytes_freed + part.bytes_freed,
                had.bytes_trashed + part.bytes_trashed,
            )
        for why, count in one.kept.items():
            kept[why] = kept.get(why, 0) + count
        errors += one.errors
        if one.refused is not None and refused.refused is None:
            refused = one
    purged_files = sum(relief.purged_files for relief in reliefs)
    purged_bytes = sum(relief.purged_bytes for relief in reliefs)
    return replace(
        result,
        files_removed=sum(part.files_removed for part in classes.values()),
        bytes_freed=result.bytes_freed + purged_bytes
        + sum(one.bytes_freed for one in every),
        classes=classes,
        kept=kept,
        errors=tuple(errors),
        purged_files=result.purged_files + purged_files,
        purged_bytes=result.purged_bytes + purged_bytes,
        refused=refused.refused,
        message=refused.message,
        remedy=refused.remedy,
        watermarks=tuple(relief.as_json() for relief in reliefs),
        also=tuple(one.run for one in every if one.run is not None),
    )  # fmt: skip
