"""What the configuration can already say but the program cannot yet do: the one table to flip.

An entry is a table (`watermark`), a key (`class.quota`) or one value of a key (`store.backend=poll`). Whatever is
listed is known, documented and checked, and then refused with "not available yet": a policy that were ignored in
silence would be worse than none. Profiles write such lines as comments, so that removing an entry here turns them on.
"""

from __future__ import annotations

NOT_YET: frozenset[str] = frozenset()


def is_available(table: str, key: str = "", value: object = None) -> bool:
    """Say whether a table, a key of it, or a value of that key can be used."""
    return NOT_YET.isdisjoint({table, f"{table}.{key}", *(f"{table}.{key}={word}" for word in words(value))})


def words(value: object) -> tuple[str, ...]:
    """Return the single words of a value: itself, or the members of a list."""
    if isinstance(value, str):
        return (value,)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list | tuple) else ()
