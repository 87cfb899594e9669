"""Writes docs/reference/ from the program itself: a reference that is written by hand is wrong within a month."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference; change the program instead. -->\n\n"


def configuration() -> str:
    """Return every key of the configuration, with its grammar and default."""
    from indexer.config.schema import TABLES

    text = [
        "# Configuration",
        "",
        "`indexer.toml` at the root of a store, or the file that `--config` names. A flag comes before `INDEXER_…` in",
        "the environment, that before the file, that before the default. An invalid file is refused as a whole, with",
        "every error in it. `INDEXER_STORE_MODE=report` sets `mode` of `[store]`, and so every key of `[store]` and",
        "`[guards]` but `path`, whose variable is `INDEXER_STORE`; lists are written as in TOML. Where a configuration",
        "may lie is told in [a tree that belongs to somebody else](../how-to/manage-somebody-elses-tree.md).",
    ]
    for table in TABLES:
        text += ["", f"## `[[{table.name}]]`" if table.many else f"## `[{table.name}]`", "", table.doc, ""]
        rows = []
        for key in table.keys:
            default = "required" if key.required else _toml(key.default)
            rows.append((f"`{key.name}`", key.kind.grammar, default, key.doc))
        text += _rows(("key", "value", "default", "meaning"), rows)
    return "\n".join(text) + "\n"


def words() -> str:
    """Return the words that stand in JSON and SQL, with their meanings, and the exit codes."""
    from indexer import errors
    from indexer.enforce.outcomes import KEPT, OUTCOMES
    from indexer.policy.reasons import Blocker, Guard, Reason
    from indexer.service.jobs import RESULTS
    from indexer.service.notifying import EVENTS
    from indexer.service.state import REASONS

    text = ["# Words and codes", "", "What stands in JSON documents and in the SQL views; new words may come, none go."]
    for title, doc, chosen in (
        ("Why a file goes", "`reason` of an action.", Reason),
        ("Why a file stays", "Keys of `kept`, values of `blockers`; the strongest is first.", Blocker),
        ("What refuses a run", "`refused`, with exit code 3.", Guard),
    ):
        text += ["", f"## {title}", "", doc, "", *_rows(("word", "meaning"), [(f"`{w}`", w.meaning) for w in chosen])]
    for title, doc, meanings in (
        ("Why a planned file stayed after all", "`kept` and `error`, besides the policy's words above.", KEPT),
        ("What became of a file", "`outcome` in the view `actions`.", OUTCOMES),
        ("Why a store is degraded", "`reasons` of `status`.", REASONS),
        ("What people are told of", "`event` of what the command of `[notify]` gets.", EVENTS),
        ("What came of a scheduled job", "`result` in `jobs` of `status`.", RESULTS),
    ):
        text += ["", f"## {title}", "", doc, ""]
        text += _rows(("word", "meaning"), [(f"`{word}`", meaning) for word, meaning in meanings.items()])
    text += ["", "## Errors", "", '`code` of the document `{"error": …}`, and the exit code.', ""]
    rows = [
        (f"`{error.code}`", str(error.exit_code), (error.__doc__ or "").partition("\n")[0])
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.IndexerError) and error is not errors.IndexerError
    ]
    text += _rows(("code", "exit", "meaning"), rows)
    text += ["", "## Exit codes", "", "The same for every command.", ""]
    text += _rows(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in _EXITS.items()])
    return "\n".join(text) + "\n"


_EXITS = {
    0: "done",
    1: "some items failed, each of them named; or the store is degraded or stopped (`status`), or a wait timed out",
    2: "wrong use, an invalid configuration, or one that must not be obeyed",
    3: "refused: a guard, the store's mode, or the answer no; nothing was done",
    4: "no store, or one that has not been scanned yet",
    5: "another service or run holds the lock",
    130: "interrupted; what was done until then is in the ledger",
}


def metrics() -> str:
    """Return every metric, as a real store exposes it."""
    import tempfile

    from indexer.manager import StorageManager
    from indexer.service.metrics import families
    from indexer.store import initialise_store

    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "store"
        (root / "uploads").mkdir(parents=True)
        (root / "uploads" / "file").write_bytes(b"x")
        initialise_store(root, profile="media")
        manager = StorageManager(root)
        manager.scan()
        manager.run_cleanup(dry_run=False)
        found = list(families(manager.store, {**manager.status(), "last_event": 1}, manager.usage()))
    text = [
        "# Metrics",
        "",
        "What `indexer metrics` prints, and `GET /metrics` answers: Prometheus text. No label holds a path. A metric",
        "that has nothing to say (a job that never ran, a filesystem that is not mounted) is missing.",
        "",
    ]
    suffixes = {"counter": "_total", "info": "_info"}
    rows = [
        (
            f"`{family.name}{suffixes.get(family.type, '')}`",
            family.type,
            ", ".join(f"`{label}`" for label in family._labelnames),  # noqa: SLF001 - there is no public way to them
            family.documentation,
        )
        for family in found
    ]
    return "\n".join([*text, *_rows(("metric", "kind", "labels", "meaning"), rows)]) + "\n"


def sql() -> str:
    """Return the stable views with their columns."""
    from indexer.index.surface import LEDGER_VIEWS, VIEWS

    text = [
        "# SQL views",
        "",
        "What `indexer sql` and `StorageManager.sql` can ask, read only. Times are Unix seconds (UTC), sizes bytes.",
        "",
        "The published copy (`indexer export media.db`) has the same views for any SQLite client. There `expired`,",
        "`holds` and `held` ask the clock of whoever reads; all else is as of `at` in its table `published(at,",
        "store, root, version)`. Its tables that begin with `_` are its own affair.",
    ]
    for name, view in (*VIEWS.items(), *LEDGER_VIEWS.items()):
        text += ["", f"## `{name}`", "", view.about, ""]
        text += _rows(("column", "meaning"), [(f"`{column}`", meaning) for column, meaning in view.columns.items()])
    return "\n".join(text) + "\n"


def commands() -> str:
    """Return the help of every command, as it prints it."""
    import click

    from indexer.cli.main import cli

    text = ["# Commands", "", "What `indexer COMMAND --help` says. `--json` gives one document on stdout, errors too."]
    root = click.Context(cli, info_name="indexer", terminal_width=100, **cli.context_settings)

    def describe(command: click.Command, context: click.Context) -> Iterator[str]:
        yield from ("", f"## `{context.command_path}`", "", "```text", command.get_help(context).rstrip(), "```")
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from describe(below, click.Context(below, info_name=name, parent=context))

    return "\n".join([*text, *describe(cli, root)]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "configuration.md": configuration,
    "metrics.md": metrics,
    "sql.md": sql,
    "words.md": words,
}


def _toml(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
        case list():
            return "`[" + ", ".join(_toml(item).strip("`") for item in value) + "]`"
        case _:
            return f"`{value}`"


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def main() -> None:
    """Write the pages, or with `--check` exit 1 and name those that are out of date."""
    parser = argparse.ArgumentParser(prog="scripts/reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is out of date")
    check = parser.parse_args().check
    old = []
    for name, make in PAGES.items():
        page, text = FOLDER / name, NOTE + make()
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            old.append(name)
            if not check:
                page.write_text(text, encoding="utf-8")
    if check and old:
        sys.exit(f"out of date, run scripts/reference: {', '.join(old)}")


if __name__ == "__main__":
    main()
