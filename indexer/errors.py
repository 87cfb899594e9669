"""What can go wrong, each with an exit code and a remedy: the one place where exit codes are defined."""

from __future__ import annotations

from typing import ClassVar

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_NO_STORE = 4
EXIT_BUSY = 5
EXIT_INTERRUPTED = 130


class IndexerError(Exception):
    """Base of every error a user may see: what failed, on which path (already escaped), and what to do.

    `code` is the stable word in `{"error": {"code": …}}`; `exit_code` is what the command line returns.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = EXIT_SOME_FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(IndexerError):
    """The command line, an argument of the API or a query is wrong."""

    code = "usage"
    exit_code = EXIT_USAGE


class ConfigError(IndexerError):
    """The configuration is invalid; `problems` lists all that is wrong with it, each with file, key and remedy."""

    code = "config"
    exit_code = EXIT_USAGE

    def __init__(self, message: str, *, remedy: str = "", problems: tuple[dict[str, str], ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems


class TrustError(IndexerError):
    """A configuration or control directory could have been written by somebody whom the caller must not obey."""

    code = "trust"
    exit_code = EXIT_USAGE


class RefusedError(IndexerError):
    """A guard, the store's mode or the user's own "no" stopped the run before it did anything."""

    code = "refused"
    exit_code = EXIT_REFUSED

    def __init__(self, message: str, *, guard: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.guard = guard


class PlatformError(IndexerError):
    """The operating system lacks what the index and its locks stand on."""

    code = "platform"
    exit_code = EXIT_REFUSED


class NoStoreError(IndexerError):
    """There is no store here."""

    code = "no_store"
    exit_code = EXIT_NO_STORE


class NotScannedError(IndexerError):
    """The store has no complete index yet."""

    code = "not_scanned"
    exit_code = EXIT_NO_STORE


class BusyError(IndexerError):
    """Another service or run holds the store's lock."""

    code = "busy"
    exit_code = EXIT_BUSY


class IndexDatabaseError(IndexerError):
    """`index.db` is corrupt, or was written by a newer version; it can always be rebuilt from the tree."""

    code = "index"


class LedgerError(IndexerError):
    """`ledger.db` cannot be read or written; nothing is removed without it."""

    code = "ledger"


class ServiceError(IndexerError):
    """The running service answered with an error, or did not answer in time."""

    code = "service"


class FilesystemError(IndexerError):
    """The store's root cannot be used: missing, not a directory, unreadable, read-only or full."""

    code = "filesystem"
