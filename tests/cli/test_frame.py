"""The frame of the command line: what every command can rely on, and how every error ends."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import BashComplete

from indexer.cli import main
from indexer.cli._common import Cli, common_options
from indexer.cli.main import COMMANDS, cli
from indexer.errors import BusyError, ConfigError
from tests.cli.conftest import Call
from tests.program import REPOSITORY, Program, unmeasured

HEAVY = {
    "peewee",
    "pydantic",
    "rich",
    "apscheduler",
    "psutil",
    "watchdog",
    "sqlite3",
    "pysqlite3",
    "tomlkit",
    "humanize",
}


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `indexer doctor` fail with `error`."""

    @click.command("doctor")
    @common_options
    def command(_: Cli) -> None:
        raise error

    monkeypatch.setattr(main, "_imported", lambda _entry: command)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str, call: Call) -> None:
    """`-h` as well as `--help`, of commands of commands too; lists of commands are not cut off."""
    group = cli.get_command(click.Context(cli), name)
    assert group is not None
    for below in group.commands if isinstance(group, click.Group) else ():
        done = call(name, below, "--help")
        assert done.stdout.count(f"    indexer {name} {below}") >= 1, below
    done = call(name, "-h")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == call(name, "--help").stdout
    assert isinstance(group, click.Group) or "Examples:" in done.stdout
    assert "..." not in done.stdout.replace("[PATHS]...", "").replace("[ARGS]...", "").replace("[DIR]...", "")
    for option in ("-C, --store", "--config", "--json", "-q, --quiet", "-v, --verbose", "--no-color"):
        assert option in done.stdout


@pytest.mark.parametrize("argv", [("--version",), ("--help",), ("config", "check", "--help"), ("nonsense",)])
def test_the_frame_imports_nothing_heavy(argv: tuple[str, ...]) -> None:
    """Start-up time: each command pays for what it uses."""
    script = (
        "import sys\nfrom indexer.cli.main import run\ncode = run(sys.argv[1:])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured(),
    )
    assert HEAVY.isdisjoint(done.stderr.splitlines()[-1].split())


def test_a_plan_of_nothing_loads_only_what_it_asks(tmp_path: Path, program: Program) -> None:
    """Where nothing is due: neither what compiles globs, nor what talks to a service, removes or shows reports."""
    program.run("init", tmp_path, "--profile", "empty")
    with (tmp_path / "indexer.toml").open("a") as file:
        file.write('[[class]]\nname = "a"\nmatch = ["a/**"]\nttl = "7d"\n')
    program.run("scan", tmp_path)
    script = "import sys\nfrom indexer.cli.main import run\nrun(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, "plan", tmp_path, "--no-scan", "--jsonl"],
        capture_output=True, text=True, check=True, env=unmeasured(),
    )  # fmt: skip
    loaded = set(done.stderr.splitlines()[-1].split())
    unwanted = {
        "peewee", "pathspec", "rich", "zoneinfo", "logging", "indexer.policy.classes", "indexer.service.control",
        "indexer.service.outlook", "indexer.index.apply", "indexer.enforce.remove", "indexer.cli.reporting",
        "indexer.cli.report_tables", "indexer.store.initialise",
    }  # fmt: skip
    assert "indexer.service.preview" in loaded
    assert set() == loaded & unwanted


@pytest.mark.parametrize(
    "argv",
    [
        ("--json", "config", "check"),
        ("config", "--json", "check"),
        ("config", "check", "--json"),
    ],
)
def test_options_count_before_and_after_the_command(argv: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    """`-C` too."""
    call("init", tmp_path, "--profile", "media")
    before, after = call("-C", tmp_path, *argv), call(*argv, "-C", tmp_path)
    assert before.code == after.code == 0
    assert before.document == after.document == {"file": str(tmp_path / "indexer.toml"), "errors": [], "warnings": []}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nonsense",), 'there is no command "nonsense"'),
        (("config", "nonsense"), "no such command 'nonsense'"),
        (("init", "--nonsense"), "no such option '--nonsense'"),
        (("init", "a", "b"), "got unexpected extra argument (b)"),
        (("init", "--profile", "medai"), "invalid value for '--profile'"),
        (("report",), "missing argument 'REPORT'. Choose from: usage, tiers, quotas, "),
        (("--store",), "option '--store' requires an argument"),
    ],
)
def test_a_usage_error_exits_2_as_text_and_as_json(argv: tuple[str, ...], message: str, call: Call) -> None:
    """JSON goes to stdout and nothing else does; text goes to stderr, with the way to the help."""
    text = call(*argv)
    assert (text.code, text.stdout) == (2, "")
    assert text.stderr.startswith(f"indexer: {message}")
    document = call("--json", *argv)
    assert (document.code, document.stderr) == (2, "")
    assert document.document["error"]["code"] == "usage"
    assert document.document["error"]["message"].startswith(message)
    assert document.document["error"]["remedy"]


def test_a_typing_error_gets_the_command_that_was_meant(call: Call) -> None:
    """The nearest one."""
    assert 'did you mean "status"?' in call("sttus").stderr


def test_no_command_shows_the_help_and_exits_2(call: Call) -> None:
    """On stderr, so that a pipe gets nothing."""
    done = call()
    assert (done.code, done.stdout) == (2, "")
    assert "Commands:" in done.stderr


def test_an_error_of_ours_shows_message_and_remedy(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own exit code, no traceback unless `-v` asks."""
    failing(BusyError("somebody\x1b[31m holds it", remedy="wait"), monkeypatch)
    done = call("doctor")
    assert (done.code, done.stdout, done.stderr) == (5, "", "indexer: somebody\\x1b[31m holds it\n  wait\n")
    assert call("doctor", "--json").document == {
        "error": {"code": "busy", "message": "somebody\x1b[31m holds it", "remedy": "wait"}
    }
    assert "Traceback" in call("-v", "doctor").stderr


def test_a_configuration_error_shows_all_its_problems(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with key, message and remedy; in JSON as `problems`."""
    problems = tuple({"file": "/x.toml", "key": f"k{n}", "message": f"m{n}", "remedy": f"r{n}"} for n in range(2))
    failing(ConfigError("/x.toml: 2 problems", remedy="correct them", problems=problems), monkeypatch)
    done = call("doctor")
    assert done.stderr.split("\n") == [
        *("indexer: /x.toml: 2 problems", "  k0: m0", "      r0", "  k1: m1", "      r1", "  correct them", "")
    ]
    assert call("doctor", "--json").document["error"]["problems"] == list(problems)


def test_an_unexpected_error_is_one_line_and_how_to_report_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is for `-v`."""
    failing(RuntimeError("odd\nthing"), monkeypatch)
    done = call("doctor")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("indexer: unexpected RuntimeError: odd\\nthing\n  please report it")
    assert "Traceback" not in done.stderr
    assert call("doctor", "--json").document["error"]["code"] == "unexpected"
    assert "RuntimeError: odd" in call("doctor", "-v").stderr


@pytest.mark.parametrize(
    ("number", "name", "said"),
    [
        (errno.EROFS, "/x/ledger.spare-0", "/x/ledger.spare-0: Read-only file system\n  mount it writable"),
        (errno.EACCES, b"/x/\xff", "/x/\\xff: Permission denied\n  run it as a user who may"),
        (errno.EIO, "/x", "/x: Input/output error\n  the disk does not work"),
        (errno.EMFILE, None, "Too many open files\n  raise the limit"),
    ],
)
def test_what_the_system_refuses_is_no_fault_of_the_program(
    number: int, name: str | bytes | None, said: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was mounted read-only meanwhile is not to be reported to us."""
    failing(OSError(number, os.strerror(number), name), monkeypatch)
    done = call("doctor")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"indexer: {said}")
    assert call("doctor", "--json").document["error"]["code"] == "filesystem"


def test_ctrl_c_exits_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a traceback."""
    failing(KeyboardInterrupt(), monkeypatch)
    done = call("doctor")
    assert done.code == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`indexer --help | true`: nothing on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    program = Program()
    done = subprocess.run(
        [*program.argv, "--help"], stdout=writer, stderr=subprocess.PIPE, check=False, env=program.environment
    )
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize("words", ["--help", "status -C / --json"])
def test_output_that_cannot_be_written_is_an_error(words: str) -> None:
    """A full disk behind `> file` must not look like success, nor like a defect, also where an error was to be said."""
    program = Program()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*program.argv, *words.split()], stdout=full, stderr=subprocess.PIPE, check=False, env=program.environment
        )
    assert done.returncode == 1
    assert b"could not be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"report it" not in done.stderr


def test_the_version_is_the_packages(call: Call) -> None:
    """And nothing else is said."""
    import indexer

    assert call("--version").stdout == f"indexer, version {indexer.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_every_shell(shell: str) -> None:
    """The script, and what it asks for."""
    done = subprocess.run(
        Program().argv,
        capture_output=True,
        text=True,
        check=False,
        env={**Program().environment, "_INDEXER_COMPLETE": f"{shell}_source"},
    )
    assert "_INDEXER_COMPLETE" in done.stdout
    words = {"COMP_WORDS": "indexer con", "COMP_CWORD": "con" if shell == "fish" else "1"}
    completed = subprocess.run(
        Program().argv,
        capture_output=True,
        text=True,
        check=False,
        env={**Program().environment, **words, "_INDEXER_COMPLETE": f"{shell}_complete"},
    )
    assert "config" in completed.stdout


def test_completion_knows_the_classes_of_the_store(call: Call, tmp_path: Path) -> None:
    """`--class` offers what the store that is meant has, `--view` what can be exported; no store, no class."""
    call("init", tmp_path, "--profile", "media")

    def offered(*words: str | Path) -> list[str]:
        command = BashComplete(cli, {}, "indexer", "_INDEXER_COMPLETE")
        *args, incomplete = map(str, words)
        return [item.value for item in command.get_completions(args, incomplete)]

    assert offered("-C", tmp_path, "plan", "--class", "") == ["uploads", "frames", "contact-sheets", "outputs", "temp"]
    assert offered("expire", "-n", "-C", tmp_path, "--class", "t") == ["temp"]
    assert offered("report", "usage", "-C", tmp_path, "--class", "o") == ["outputs"]
    assert offered("-C", tmp_path / "none", "plan", "--class", "") == []
    assert offered("export", "--view", "usage_by_c") == ["usage_by_class", "usage_by_child"]


def test_the_manager_is_imported_when_it_is_asked_for() -> None:
    """`import indexer` alone is cheap; a wrong name is an AttributeError."""
    import indexer

    script = "import indexer, sys; print('indexer.manager' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False\n"
    assert indexer.StorageManager.__name__ == "StorageManager"
    with pytest.raises(AttributeError):
        _: Any = indexer.Nothing


def test_json_is_ascii_and_whole(call: Call, tmp_path: Path) -> None:
    """Whatever a directory is called: one document that reads back, and no byte that upsets a terminal."""
    odd = tmp_path / "a\x1b[31m\u202e\udcff\n写"
    odd.mkdir()
    done = call("init", odd, "--profile", "empty", "--json")
    assert done.code == 0
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert json.loads(done.stdout)["store"].endswith("a\\x1b[31m\\u202e\\xff\\n写")


@pytest.mark.parametrize("argv", [("-C", "", "status"), ("init", ""), ("config", "check", "")])
def test_an_empty_path_is_refused(argv: tuple[str, ...], call: Call) -> None:
    """`-C "$UNSET"` must not mean the current directory."""
    done = call(*argv)
    assert done.code == 2
    assert "is empty; is a variable unset?" in done.stderr


def test_closed_standard_streams_are_opened(tmp_path: Path) -> None:
    """With `>&- 2>&- <&-` no database gets the number of standard output."""
    script = (
        "import os, sys\nfrom indexer.cli.main import run\n"
        "os.closerange(0, 3)\nsys.stdin = sys.stdout = sys.stderr = None\n"
        "code = run(['init', sys.argv[1]])\n"
        "fine = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)] == [os.devnull] * 3\n"
        "os._exit(code if fine else 99)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=False, env=environment)
    assert done.returncode == 0
    assert (tmp_path / "indexer.toml").stat().st_size > 0


def test_a_locale_that_lacks_a_letter_is_no_error(tmp_path: Path) -> None:
    """It is escaped."""
    odd = tmp_path / "写"
    odd.mkdir()
    program = Program(environment={"PYTHONIOENCODING": "latin-1"})
    assert "\\u5199 is a store." in program.run("init", odd, "--profile", "empty").stdout
