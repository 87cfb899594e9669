"""Printing, progress and asking: on terminals and elsewhere."""

from __future__ import annotations

import io
import json
import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.cli._common import Cli, confirm_or_refuse
from indexer.cli._paths import path_operands
from indexer.cli.output import Cell, Column, Output
from indexer.errors import RefusedError, UsageError


def on_a_terminal(action: Callable[[], None], typed: bytes = b"") -> tuple[int, bytes]:
    """Run `action` in a child whose standard streams are a terminal; returns (exit code, what it showed)."""
    child, terminal = pty.fork()
    if child == 0:
        code = 9
        try:
            sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
            try:
                action()
                code = 0
            except RefusedError:
                code = 3
            sys.stdout.flush()
        finally:
            os._exit(code)
    if typed:
        os.write(terminal, typed)
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # EIO: the child is gone
            break
        if not chunk:
            break
        shown += chunk
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return code, shown


ROWS = [("frames/\x1b[31m", 7), ("[red]:smile:", 1234), (None, None)]
COLUMNS = ("path", Column("files", right=True))


def test_a_table_in_a_pipe_is_plain_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour, no box, no line that is cut: other programs read it."""
    Output().table(COLUMNS, [*ROWS, ("x" * 300, 0)])
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == "path" + " " * 298 + "files"
    assert lines[1] == "frames/\\x1b[31m" + " " * 291 + "7"
    assert lines[2] == "[red]:smile:" + " " * 291 + "1234"
    assert lines[4] == "x" * 300 + "      0"


def test_a_table_on_a_terminal_takes_no_name_for_markup() -> None:
    """Neither escape sequences nor rich's own markup and emoji."""
    code, shown = on_a_terminal(lambda: Output(color=False).table(COLUMNS, ROWS))
    assert code == 0
    assert b"frames/\\x1b[31m" in shown
    assert b"[red]:smile:" in shown


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """By the usual variable, or since the terminal would show the sequences as they are."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Cli().out.color
    monkeypatch.setenv(variable, value)
    assert not Cli().out.color


def test_notes_go_to_stderr_and_quiet_silences_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings stay; details want `-v`."""
    for out in (Output(), Output(quiet=True), Output(verbose=True)):
        out.note("note")
        out.detail("detail")
        out.warn("warning\x07")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.split("\n") == ["note", "warning\\x07", "warning\\x07", "note", "detail", "warning\\x07", ""]


def test_colour_is_for_terminals_that_want_it() -> None:
    """`--no-color` and pipes get none."""
    assert b"\x1b[31m" in on_a_terminal(lambda: Output().warn("x", style="red"))[1]
    assert b"\x1b" not in on_a_terminal(lambda: Output(color=False).warn("x", style="red"))[1]


def test_colour_is_not_for_pipes(capsys: pytest.CaptureFixture[str]) -> None:
    """A log file has no colours."""
    Output().warn("x", style="red")
    assert capsys.readouterr().err == "x\n"


def show_progress(out: Output) -> None:
    """Two steps."""
    with out.progress("scanning", 10) as update:
        update(5, 10)
        update(10, None)


def test_progress_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere, quiet or with --json: nothing."""
    assert b"scanning" in on_a_terminal(lambda: show_progress(Output()))[1]
    for silent in (Output(quiet=True), Output(json=True)):
        assert on_a_terminal(lambda silent=silent: show_progress(silent))[1] == b""  # type: ignore[misc]
    show_progress(Output())
    assert capsys.readouterr() == ("", "")


def test_no_colour_is_no_escape_sequence_at_all() -> None:
    """Bold heads are one too, and a terminal that was asked for none may not know them."""
    assert b"\x1b[" in on_a_terminal(lambda: Output().table(COLUMNS, ROWS))[1]
    shown = on_a_terminal(lambda: Output(color=False).table(COLUMNS, [*ROWS, (Cell("red", "red"), 0)]))[1]
    assert b"1234" in shown
    assert b"\x1b" not in shown


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"n\n", 3), (b"\n", 3), (b"\x04", 3)])
def test_a_terminal_is_asked_and_only_yes_goes_on(typed: bytes, code: int) -> None:
    """No, nothing, and the end of input refuse: exit 3."""
    done = on_a_terminal(lambda: confirm_or_refuse("Remove 3 files?", yes=False), typed)
    assert done[0] == code
    assert b"Remove 3 files? [y/N]" in done[1]


def test_without_a_terminal_a_flag_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-y` or `-n`: nothing is removed because a script had no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UsageError) as refused:
        confirm_or_refuse("Remove 3 files?", yes=False)
    assert refused.value.exit_code == 2
    assert "-y" in refused.value.remedy
    confirm_or_refuse("Remove 3 files?", yes=True)
    confirm_or_refuse("Remove 3 files?", yes=False, dry_run=True)


def test_paths_come_from_the_command_line_and_a_file(tmp_path: Path) -> None:
    """Any bytes; with `-0` newlines are part of a name."""
    lines, nul = tmp_path / "lines", tmp_path / "nul"
    lines.write_bytes(b"a b\n\n\xff\n")
    nul.write_bytes(b"a\nb\0c\0")
    assert path_operands([Path("x")], lines, nul=False) == [Path("x"), Path("a b"), Path("\udcff")]
    assert path_operands([], nul, nul=True) == [Path("a\nb"), Path("c")]
    for paths_from, with_nul in ((None, False), (None, True), (tmp_path / "none", False)):
        with pytest.raises(UsageError) as refused:
            path_operands([], paths_from, nul=with_nul)
        assert refused.value.remedy


def test_lines_of_json_are_those_of_each_document_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Documents that are encoded together are cut where they end, whatever their texts look like."""
    texts = ["plain", '}, {"path": ', '"}, {"path": "', "\n", "\\", "é\udcff", '{"path": {}}', ""]
    documents: list[dict[str, object]] = [{"path": one, "class": other} for one in texts for other in texts]
    documents += [{"path": "a", "inner": [{"path": 1}, {"path": 2}]}, {"class": "b"}, {}] * 40
    Output().json_lines(documents)
    assert capsys.readouterr().out == "".join(json.dumps(document) + "\n" for document in documents)
