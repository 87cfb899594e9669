"""Collects all that is wrong with a configuration, so that nobody has to run `config check` five times."""

from __future__ import annotations

from indexer.errors import ConfigError, IndexerError


class Problems:
    """Problems found in one source (a file, an environment variable, a flag), each with key, message and remedy."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[dict[str, str]] = []

    def add(self, key: str, message: str, remedy: str, *, file: str = "") -> None:
        """Note one problem; `file` when it is not in the file itself."""
        self.found.append({"file": file or self.file, "key": key, "message": message, "remedy": remedy})

    def add_error(self, key: str, error: IndexerError, *, file: str = "") -> None:
        """Note what a kind of value raised; one that holds several problems keeps them apart."""
        if not isinstance(error, ConfigError):
            self.add(key, error.message, error.remedy, file=file)
            return
        for problem in error.problems:
            self.add(key + problem["key"], problem["message"], problem["remedy"], file=file)

    def raise_if_any(self) -> None:
        """Raise ConfigError with all of them."""
        if not self.found:
            return
        count = len(self.found)
        first = self.found[0]
        message = f"{self.file}: {count} problem{'s' if count > 1 else ''}"
        remedy = first["remedy"] if count == 1 else "correct each of them; nothing was done"
        raise ConfigError(message, remedy=remedy, problems=tuple(self.found))


def several(problems: list[tuple[str, IndexerError]]) -> ConfigError:
    """Return one error for several parts of a value: (`.low` or `[2]`, what is wrong with it)."""
    collected = Problems("")
    for key, error in problems:
        collected.add_error(key, error)
    return ConfigError("several problems", problems=tuple(collected.found))
