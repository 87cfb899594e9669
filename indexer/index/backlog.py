"""The directories that are still to be listed: doubts of the present first, verification when there is time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listing:
    """One directory to list."""

    directory_id: int
    tree: bool
    """Go on with its known subdirectories (unknown ones are always gone into)."""
    fresh: bool = False
    """It was registered just now: there are no rows to compare with."""
    floor: int | None = None
    """A directory that arrived as a whole: nothing in it was first seen before this time (Unix seconds)."""
    reason: str = ""


class Backlog:
    """Two stacks without duplicates. What happened since `begin` can be taken back."""

    def __init__(self) -> None:
        self._urgent: OrderedDict[int, Listing] = OrderedDict()
        self._verify: OrderedDict[int, Listing] = OrderedDict()
        self._taken: list[tuple[Listing, bool]] = []
        self._pushed: set[tuple[int, bool]] = set()

    def __bool__(self) -> bool:
        return bool(self._urgent or self._verify)

    def __len__(self) -> int:
        return len(self._urgent) + len(self._verify)

    @property
    def urgent(self) -> int:
        """How many wait that are not verification."""
        return len(self._urgent)

    @property
    def waiting(self) -> set[int]:
        """Ids of all directories that wait."""
        return self._urgent.keys() | self._verify.keys()

    def __contains__(self, directory_id: int) -> bool:
        return directory_id in self._urgent or directory_id in self._verify

    def push(self, listing: Listing, *, verify: bool = False, last: bool = False) -> None:
        """Add a directory, or widen the listing that waits for it already; `last` lets all others go first."""
        stack = self._verify if verify else self._urgent
        waiting = stack.get(listing.directory_id)
        if waiting is not None:
            if listing.tree and not waiting.tree:
                stack[listing.directory_id] = Listing(
                    waiting.directory_id, True, waiting.fresh, waiting.floor, waiting.reason
                )
            return
        stack[listing.directory_id] = listing
        if last:
            stack.move_to_end(listing.directory_id, last=False)
        self._pushed.add((listing.directory_id, verify))

    def take(self) -> tuple[Listing, bool] | None:
        """Return the next directory and whether it is mere verification; None when there is nothing to do."""
        for stack, verify in ((self._urgent, False), (self._verify, True)):
            if stack:
                _, listing = stack.popitem()
                self._note(listing, verify=verify)
                return listing, verify
        return None

    def discard(self, directory_id: int) -> None:
        """The directory has left the store."""
        for stack, verify in ((self._urgent, False), (self._verify, True)):
            listing = stack.pop(directory_id, None)
            if listing is not None:
                self._note(listing, verify=verify)

    def done(self, listing: Listing, *, verify: bool) -> None:
        """What was taken in an earlier transaction is only being dealt with in this one."""
        self._taken.append((listing, verify))

    def _note(self, listing: Listing, *, verify: bool) -> None:
        """What was here before this transaction would have to be put back; what it pushed itself would not."""
        pushed = (listing.directory_id, verify)
        if pushed in self._pushed:
            self._pushed.remove(pushed)
        else:
            self._taken.append((listing, verify))

    def begin(self) -> None:
        """Start to note what would have to be taken back."""
        self._taken.clear()
        self._pushed.clear()

    def rollback(self) -> None:
        """The transaction failed: forget what it pushed, put back what it took."""
        for directory_id, verify in self._pushed:
            (self._verify if verify else self._urgent).pop(directory_id, None)
        for listing, verify in reversed(self._taken):
            (self._verify if verify else self._urgent)[listing.directory_id] = listing
        self.begin()
