"""Notice before removal: a file goes only so long after a published notice has named it, as it still is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.reasons import Blocker

if TYPE_CHECKING:
    from indexer.records import Identity, IndexedFile
    from indexer.rules import Rule


class Notice(NamedTuple):
    """What one published notice said of one file. Times are Unix seconds."""

    path: bytes
    class_name: str
    published: int
    """When the command that tells people had ended well."""
    goes_at: int
    """The earliest moment that the file may go."""
    clock_at: int
    """The class's clock of the file then."""
    identity: Identity
    reason: str = "expired"


NoticeOf = Callable[[bytes], Notice | None]
"""The last notice that named a path."""


def holds_for(notice: Notice | None, rule: Rule, file: IndexedFile, clock_at: int) -> bool:
    """Tell whether a notice still speaks of this file: the same one, in the same class, not used or written since."""
    return (
        notice is not None
        and notice.class_name == rule.name
        and notice.identity == file.identity
        and notice.clock_at >= clock_at
    )


def goes_at(rule: Rule, expires_at: int | None, published: int) -> int:
    """Return the earliest moment that a file may go of which a notice is published at `published`."""
    return max(published + (rule.warn_before or 0), 0 if expires_at is None else expires_at)


def notice_blockers(
    rules: Iterable[Rule], notice_of: NoticeOf, now: int, *, told_by: int | None = None
) -> Callable[[IndexedFile], str | None] | None:
    """Return what keeps files of classes with `warn_before`; None where there is no such class.

    A forecast for `now` names with `told_by` the moment by which notices will have been published at the latest: those
    still missing count as of then.
    """
    waiting = {rule.name: (rule, compile_clock(rule)) for rule in rules if rule.warn_before is not None}
    if not waiting:
        return None

    def blocker(file: IndexedFile) -> str | None:
        found = waiting.get(file.class_name or "")
        if found is None:
            return None
        rule, clock = found
        notice = notice_of(file.path)
        published = told_by
        if notice is not None and holds_for(notice, rule, file, file_clock(clock, file)):
            published = notice.published
        if published is None:
            return Blocker.NO_NOTICE
        return Blocker.NOTICE_PERIOD if now < published + (rule.warn_before or 0) else None

    return blocker
