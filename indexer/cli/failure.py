"""How an error ends a command: message and remedy on stderr, or a JSON document on stdout; and the exit code."""

from __future__ import annotations

import errno
import os
import traceback
from typing import TYPE_CHECKING, Any

import click

from indexer.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_USAGE, ConfigError, IndexerError
from indexer.units import show_text

if TYPE_CHECKING:
    from indexer.cli.output import Output

REPORT = "please report it with what `-v` prints: https://github.com/storage-indexer/storage-indexer/issues"

_UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ON_DISK = {
    errno.EACCES: "run it as a user who may, or as root",
    errno.EPERM: "run it as a user who may, or as root",
    errno.EROFS: "mount it writable, or keep the state elsewhere: [store] state",
    errno.ENOSPC: "make room, or keep the state on another filesystem: [store] state",
    errno.EDQUOT: "make room within the quota, or keep the state on another filesystem: [store] state",
    errno.EIO: "the disk does not work as it should: look at the kernel's log",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
    errno.ENFILE: "raise the system's limit of open files: sysctl fs.file-max",
}
_ELSEWHERE = "make room where it is written to; what was done until then is in the ledger: `indexer report runs`"
_NO_ROOM = (
    "is the disk full (df, df -i)? `indexer plan` and `indexer cleanup` work on a full one; `indexer doctor` looks at"
    " the rest"
)


def show_failure(error: BaseException, out: Output) -> int:
    """Show an error as `out` wants it and return the exit code."""
    if isinstance(error, SystemExit):
        return _exit_code(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        _show(out, "interrupted", "interrupted", "what was done until then is in the ledger")
        return EXIT_INTERRUPTED
    if isinstance(error, IndexerError):
        problems = error.problems if isinstance(error, ConfigError) else ()
        _show(out, error.code, error.message, error.remedy, problems)
        code = error.exit_code
    elif isinstance(error, click.ClickException):
        _show(out, "usage", _as_ours(error.format_message()), _help_of(error))
        code = EXIT_USAGE
    elif isinstance(error, OSError) and error.errno in _UNWRITTEN and error.filename is None:
        _show(out, "output", f"what the command says could not be written: {error.strerror}", _ELSEWHERE)
        code = EXIT_SOME_FAILED
    elif isinstance(error, OSError) and error.errno in _ON_DISK:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _show(out, "filesystem", f"{where}{error.strerror}", _ON_DISK[error.errno])
        code = EXIT_SOME_FAILED
    elif (trouble := _trouble_of(error)) is not None:
        _show(out, trouble, f"the store's databases cannot be used: {_one_line(error)}", _NO_ROOM)
        code = EXIT_SOME_FAILED
    else:
        _show(out, "unexpected", f"unexpected {type(error).__name__}: {_one_line(error)}", REPORT)
        code = EXIT_SOME_FAILED
    if out.verbose and not isinstance(error, click.ClickException):
        out.warn("".join(traceback.format_exception(error)).rstrip())
    return code


def _show(out: Output, code: str, message: str, remedy: str, problems: tuple[dict[str, str], ...] = ()) -> None:
    if out.json:
        document: dict[str, Any] = {"code": code, "message": message, "remedy": remedy}
        if problems:
            document["problems"] = list(problems)
        out.document({"error": document})
        return
    out.warn(f"indexer: {show_text(message)}", style="red")
    for problem in problems:
        where = problem["key"] if problem["file"] in message else f"{problem['file']}: {problem['key']}"
        out.warn(f"  {where}: {problem['message']}" if where else f"  {problem['message']}")
        if problem["remedy"]:
            out.warn(f"      {problem['remedy']}")
    if remedy and len(problems) != 1:
        out.warn(f"  {show_text(remedy)}")


def _as_ours(message: str) -> str:
    """Return what click says in the form of all our messages: one line, without capital and full stop."""
    line = " ".join(message.split()).removesuffix(".")
    return line[:1].lower() + line[1:]


def _help_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context is not None else "see `indexer --help`"


def _trouble_of(error: BaseException) -> str | None:
    from indexer.service.trouble import trouble_of

    return trouble_of(error) if type(error).__name__ == "OperationalError" else None


def _one_line(error: BaseException) -> str:
    return show_text(str(error))


def _exit_code(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else EXIT_SOME_FAILED
