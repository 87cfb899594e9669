"""What is well written and makes no sense together. Pure: parsed values in, problems out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.config.globs import covers, prefix_of
from indexer.config.listen import read_address
from indexer.units import format_duration

if TYPE_CHECKING:
    from indexer.config.problems import Problems


class Labelled(NamedTuple):
    """One table as read."""

    label: str
    """`class[2] "frames"`, `watermark`."""
    values: Mapping[str, Any]
    """By key; None where a value is absent or wrong."""
    given: frozenset[str]
    """The keys that the file has."""


def contradictions(classes: Sequence[Labelled], others: Mapping[str, Labelled], problems: Problems) -> None:
    """Add every contradiction between keys to `problems`."""
    _names(classes, problems)
    for label, values, _ in classes:
        _prefixes(label, values, problems)
        _filename(label, values, problems)
        _quota(label, values, problems)
    if "watermark" in others:
        _watermark(others["watermark"], classes, problems)
    if "http" in others:
        _http(others["http"], problems)
    if "service" in others:
        _service(others["service"], problems)


def warnings(
    store: Mapping[str, Any], classes: Sequence[Labelled], others: Mapping[str, Labelled] | None = None
) -> Iterator[str]:
    """Yield what is allowed and probably not meant."""
    yield from _unreachable(store, classes)
    for label, values, given in classes:
        if values["action"] == "delete" and "trash_ttl" in given:
            yield f'{label}: trash_ttl has no effect with action = "delete"'
        if values["filename_time"] is not None and "filename" not in (values["clock"] or ()):
            yield f'{label}: filename_time has no effect without clock = ["filename"]'
        if values["whole_directories"] and (why := _never_whole(values)) is not None:
            yield f"{label}: whole_directories has no effect {why}"
        if values["warn_before"] is not None and "notify" not in (others or {}):
            yield f"{label}: warn_before without [notify]: no notice can be published, so nothing of it ever goes"
        ttl, least = values["ttl"], values["min_age"]
        if ttl is not None and ttl < least:
            yield (
                f"{label}: min_age {format_duration(least)} is longer than ttl {format_duration(ttl)}, "
                f"so nothing goes before {format_duration(least)}"
            )
        if values["max_fraction"] == 1:
            yield f"{label}: max_fraction = 1 lets one run remove everything"
    if store["mode"] == "enforce" and not any(values["ttl"] or values["evict"] for _, values, _ in classes):
        yield 'store.mode = "enforce", but no class has a ttl: nothing expires'


def _never_whole(values: Mapping[str, Any]) -> str | None:
    if not values["remove_empty_dirs"]:
        return "without remove_empty_dirs"
    if values["unit"] == "child":
        return 'with unit = "child": all files of a child go, or none'
    return 'with action = "system-trash"' if values["action"] == "system-trash" else None


def _names(classes: Sequence[Labelled], problems: Problems) -> None:
    seen: dict[str, str] = {}
    for label, values, _ in classes:
        name = values["name"]
        if name in seen:
            problems.add(f"{label}.name", f"{seen[name]} has the same name", "give each class a name of its own")
        elif name is not None:
            seen[name] = label


def _unreachable(store: Mapping[str, Any], classes: Sequence[Labelled]) -> Iterator[str]:
    """A class that an earlier one (or `ignore`) covers whole never applies: its files are the earlier one's."""
    earlier = [("store.ignore", glob) for glob in store["ignore"] or ()]
    for label, values, _ in classes:
        globs = values["match"] or ()
        hiding = [next((where for where, other in earlier if covers(other, glob)), None) for glob in globs]
        if hiding and all(hiding):
            yield f"{label} never applies: {hiding[0]} matches all of it first; put the narrower one before the wider"
        earlier += [(label, glob) for glob in globs]


def _prefixes(label: str, values: Mapping[str, Any], problems: Problems) -> None:
    wants = []
    if values["unit"] == "child":
        wants.append('unit = "child"')
    if values["remove_empty_dirs"]:
        wants.append("remove_empty_dirs")
    if (values["quota"] or {}).get("per") == "child":
        wants.append('quota per = "child"')
    loose = [glob for glob in values["match"] or () if not prefix_of(glob)]
    if wants and loose:
        problems.add(
            f"{label}.match",
            f'{", ".join(wants)}: "{loose[0]}" does not say which directory is the class\'s own',
            'write every match as "directory/**"',
        )


def _filename(label: str, values: Mapping[str, Any], problems: Problems) -> None:
    uses = "filename" in (values["clock"] or ())
    if uses and values["filename_time"] is None:
        problems.add(f"{label}.clock", '"filename" without filename_time', "say how to read the time from a name")


def _quota(label: str, values: Mapping[str, Any], problems: Problems) -> None:
    if values["evict"] and values["quota"] is None:
        problems.add(f"{label}.evict", "evicts nothing without a quota", "add a quota, or remove evict")
    if values["warn_before"] is not None and values["ttl"] is None and values["quota"] is None:
        problems.add(f"{label}.warn_before", "nothing ever goes from this class", "add a ttl, or remove warn_before")


def _http(table: Labelled, problems: Problems) -> None:
    listen = table.values["listen"]
    if listen is None or read_address(listen).private:
        return
    for key, what in (("token_file", "the file that holds the token"), ("allowed_hosts", "the values of Host")):
        if not table.values[key]:
            problems.add(f"http.{key}", f"is needed to listen on {listen}", f"name {what}, or listen on 127.0.0.1")


def _watermark(table: Labelled, classes: Sequence[Labelled], problems: Problems) -> None:
    if table.given.isdisjoint({"space", "min_free", "inodes"}):
        problems.add("watermark", "has no threshold", "write space, min_free or inodes")
    if table.values["capacity"] is not None and table.given.isdisjoint({"space", "min_free"}):
        problems.add("watermark.capacity", "has no threshold of its own", "write space or min_free")
    names = [entry.values["name"] for entry in classes]
    for position, name in enumerate(table.values["order"] or (), start=1):
        if name not in names:
            problems.add(f"watermark.order[{position}]", f'there is no class "{name}"', "name classes of this file")


def _service(service: Labelled, problems: Problems) -> None:
    """To connect is to write (unix(7)): a group without that bit is let in by name only."""
    mode = service.values["mode"]
    if service.values["group"] is not None and mode is not None and not mode & 0o020:
        problems.add("service.mode", "lets the group not connect, which takes the write bit", 'write mode = "0660"')
