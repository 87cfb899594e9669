"""The words a plan uses: why a file goes, why it stays, why a run is refused. The reference lists them from here."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class _Word(StrEnum):
    """A stable word of the JSON and SQL surface, with its meaning for people."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        word = str.__new__(cls, value)
        word._value_ = value
        word.meaning = meaning
        return word


class Reason(_Word):
    """Why a file goes (`reason`)."""

    EXPIRED = "expired", "older than its class's ttl by the class's clock"
    WATERMARK = "watermark", "its filesystem is too full, and its class is the next to give way"
    QUOTA = "quota", "its class, or the child directory it is in, is over its quota, and it is the first to give way"


class Blocker(_Word):
    """Why a file that would go stays (`kept`, `blockers`), strongest first."""

    HELD = "held", "a hold covers it"
    LEASED = "leased", "a lease of an application covers it"
    UNVERIFIED = (
        "unverified",
        "its directory has yet to be verified since the service started or events were lost; a later run takes it",
    )
    EXCLUDED = "excluded", "its class's `exclude` covers it: it counts in the class's usage and never ages"
    TOO_YOUNG = "too_young", "written, or arrived, less than its class's min_age ago"
    TOO_LARGE = "too_large", "a child with more files than max_files, or larger than max_bytes: it goes whole or not"
    NO_NOTICE = "no_notice", "its class wants a notice first, and none that was published has named it as it is now"
    NOTICE_PERIOD = "notice_period", "a published notice has named it less than its class's warn_before ago"
    POSTPONED = "postponed", "due, but beyond max_files, max_bytes or --limit: an older part of the plan goes first"
    NOT_PLANNED = "not_planned", "in a written plan, for a quota or a watermark that no longer asks for it"
    UNCLASSIFIED = "unclassified", "in no class: never touched"
    OTHER_CLASS = "other_class", "now in another class than the one it was planned for"
    KEPT_FOREVER = "kept_forever", "its class has no ttl"
    NO_TIME = "no_time", "its name bears no time, an impossible one or one to come, and its class ages by it"
    USED = "used", "used or changed since it was planned: it is no longer the first to give way"
    NOT_DUE = "not_due", "younger than its class's ttl"
    NOT_INDEXED = "not_indexed", "the index knows no file of this name"
    IGNORED = "ignored", "the store's `ignore` covers it: it is not indexed at all"


class Guard(_Word):
    """What refuses a whole run before it does anything (`refused`, exit 3)."""

    MODE = "mode", 'the store is in `mode = "report"`, which never removes anything'
    MAX_FRACTION = "max_fraction", "the run, with those of the last 24 hours, would take too large a share of the store"
    EVERYTHING = "everything", "not one live file of the store would be left, and max_fraction does not say 1"
    CLOCK_STEP = "max_clock_step", "the wall clock stepped since the last run: every age may be wrong"
    PLATFORM = "platform", "removing needs Linux: its promises rest on leases, O_PATH and renameat2"
    ANSWER = "answer", "somebody was asked and did not say yes"
