"""Every block of code in the documents is what it says: it parses, it validates, its commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from indexer.cli.main import cli
from indexer.config.load import load_config
from indexer.index.surface import LEDGER_VIEWS, VIEWS
from tests.program import REPOSITORY

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
LANGUAGES = {"", "console", "mermaid", "python", "sh", "sql", "text", "toml", "yaml"}


def blocks(*languages: str) -> list[Any]:
    """Return (document, code) of every block in one of `languages`, named for people."""
    found = []
    for document in DOCUMENTS:
        for number, (language, code) in enumerate(BLOCK.findall(document.read_text(encoding="utf-8"))):
            if language in languages:
                found.append(pytest.param(code, id=f"{document.relative_to(REPOSITORY)}#{number}"))
    return found


def test_every_language_is_one_that_is_checked() -> None:
    """A block in a language that nothing here knows would be checked by nobody."""
    used = {language for document in DOCUMENTS for language, _ in BLOCK.findall(document.read_text(encoding="utf-8"))}
    assert used - LANGUAGES == set()


@pytest.mark.parametrize("code", blocks("toml"))
def test_configurations_are_valid(tmp_path: Path, code: str) -> None:
    """What is shown as TOML can be pasted: `config check` accepts it, with a class for every name that it mentions."""
    named = set(re.findall(r'"([\w-]+)"', "".join(re.findall(r"^order = .*$", code, re.MULTILINE))))
    there = set(re.findall(r'^name = "([\w-]+)"', code, re.MULTILINE))
    rest = "".join(f'\n[[class]]\nname = "{name}"\nmatch = ["{name}/**"]\nttl = "1d"\n' for name in named - there)
    (tmp_path / "token").write_text("0" * 64)
    (tmp_path / "token").chmod(0o600)
    code = re.sub(r'token_file = "[^"]*"', f'token_file = "{tmp_path / "token"}"', code)
    file = tmp_path / "indexer.toml"
    file.write_text(code + rest, encoding="utf-8")
    load_config(file)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles(code: str) -> None:
    """No slip of the pen in a program that people copy."""
    compile(code, "example", "exec")


@pytest.mark.parametrize("code", blocks("sh"))
def test_shell_parses(code: str) -> None:
    """The same for the shell."""
    assert subprocess.run(["bash", "-n", "-c", code], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("code", blocks("sh", "console", ""))
def test_commands_and_their_options_exist(code: str) -> None:
    """Each `indexer …` line names a command that there is, with options that it has."""
    assert list(mistakes(code)) == []


def mistakes(code: str) -> Iterator[str]:
    """Yield every command of ours in `code` that does not exist as it is written."""
    for line in code.splitlines():
        text = re.sub(r"^[$#>] ", "", line.strip())
        for part in re.split(r"\s(?:&&|\|\||\|)\s|;\s", text):
            words = split(part)
            if words[:1] in (["indexer"], ["scripts/indexer"]) and "…" not in part:
                yield from wrong(words[1:], part)


def split(text: str) -> list[str]:
    """Return the words of a command, comment left out; nothing for what is no command."""
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # an open quote: a query over several lines
        return shlex.split(text + "'") if text.count("'") % 2 else shlex.split(text + '"')


def wrong(words: list[str], shown: str) -> Iterator[str]:
    """Yield what is wrong with the words of one command."""
    command: click.Command = cli
    context = click.Context(cli)
    options = option_names(cli)
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            if word.partition("=")[0] not in options:
                yield f"{shown}: no option {word}"
            if word in {"-C", "--store", "--config"} and words:
                words.pop(0)
        elif isinstance(command, click.Group) and word not in {">", "<", "2>&1"}:
            found = command.get_command(context, word)
            if found is None:
                yield f"{shown}: no command {word}"
                return
            command = found
            options |= option_names(found)


def option_names(command: click.Command) -> set[str]:
    """Return every spelling of a command's options."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"-h", "--help", "--version"}


def test_the_check_of_commands_can_fail() -> None:
    """A command and an option that do not exist are found."""
    assert list(mistakes("$ indexer explode --now\n")) == ["indexer explode --now: no command explode"]
    assert list(mistakes("indexer plan --sideways | head")) == ["indexer plan --sideways: no option --sideways"]


def test_what_the_documents_call_a_view_is_one() -> None:
    """`FROM name` in SQL of the documents reads a view of the contract, a subquery's name, or the published copy."""
    known = {*VIEWS, *LEDGER_VIEWS, "published", "json_each", "sqlite_schema"}
    for parameter in blocks("sql"):
        (code,) = parameter.values
        local = set(re.findall(r"(\w+)(?: \([^)]*\))? AS (?:NOT )?(?:MATERIALIZED )?\(", code))
        read = set(re.findall(r"\b(?:FROM|JOIN) (\w+)\b(?!\()", code))
        assert read - known - local == set(), code
