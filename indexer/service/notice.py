"""One notice: whom it tells of which files, and what the ledger remembers of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexer.policy.notices import Notice, goes_at
from indexer.service.notifying import document
from indexer.units import count, format_size, format_time, show_text, text_of, user_name

if TYPE_CHECKING:
    from indexer.service.coming import Coming
    from indexer.store import Store


def groups(by: str, part: list[Coming]) -> dict[tuple[Any, ...], list[Coming]]:
    """Return what goes in one notice each, by class, child or owner."""
    groups: dict[tuple[Any, ...], list[Coming]] = {}
    for one in part:
        if by == "owner":
            key: tuple[Any, ...] = (one.file.uid,)
        elif by == "child":
            key = (one.rule.name, one.rule.child_of(one.file.directory))
        else:
            key = (one.rule.name,)
        groups.setdefault(key, []).append(one)
    return groups


def notice_of(store: Store, by: str, key: tuple[Any, ...], group: list[Coming], now: int) -> dict[str, Any]:
    """Return the document of one notice, to be published at `now` (Unix seconds)."""
    actions = [_action(one, now) for one in group]
    first = min(action["goes_at"] for action in actions)
    allocated = sum(one.file.allocated if one.file.charged else 0 for one in group)
    whose: dict[str, Any] = {"class": None, "child": None, "uid": None, "owner": None}
    if by == "owner":
        name = user_name(key[0])
        whose |= {"uid": key[0], "owner": None if name == str(key[0]) else name}
        of = f"of {name}"
    else:
        whose["class"] = key[0]
        of = f"of class {key[0]}"
        if by == "child":
            whose["child"] = None if key[1] is None else text_of(key[1])
            of += "" if key[1] is None else f" in {show_text(whose['child'])}"
    message = f"{store.root}: {count(len(group))} {of} ({format_size(allocated)}) go from {format_time(first)} on"
    return document(
        store,
        "expiring",
        now,
        message,
        by=by,
        **whose,
        files=len(group),
        bytes=sum(one.file.size for one in group),
        allocated=allocated,
        goes_from=first,
        goes_until=max(action["goes_at"] for action in actions),
        actions=actions,
    )


def _action(one: Coming, now: int) -> dict[str, Any]:
    path = text_of(one.file.path)
    exact = {} if path.encode("utf-8") == one.file.path else {"path_bytes": one.file.path.hex()}
    return {
        "path": path,
        **exact,
        "class": one.rule.name,
        "bytes": one.file.size,
        "allocated": one.file.allocated,
        "uid": one.file.uid,
        "action": one.rule.action,
        "reason": str(one.reason),
        "clock_at": one.clock_at,
        "expires_at": one.expires_at,
        "goes_at": goes_at(one.rule, one.expires_at, now),
    }


def said_of(one: Coming, published: int) -> Notice:
    """Return what the ledger remembers of one file that was named at `published` (Unix seconds)."""
    return Notice(
        one.file.path,
        one.rule.name,
        published,
        goes_at(one.rule, one.expires_at, published),
        one.clock_at,
        one.file.identity,
        str(one.reason),
    )
