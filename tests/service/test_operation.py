"""A service in operation: several stores in one process, signals, logs for programs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from indexer.store import open_store
from tests.program import Program, Service
from tests.service.scheduled import scheduled
from tests.waiting import until


def records(service: Service) -> list[dict[str, Any]]:
    """Return what it has logged so far."""
    return [json.loads(line) for line in service.log if line.startswith("{")]


def logged(service: Service, words: str) -> dict[str, Any]:
    """Wait for a record whose message has `words`."""
    return until(lambda: next((record for record in records(service) if words in record["message"]), None) or {}, words)


def configuration(directory: Path, name: str, store: Path, more: str = "") -> None:
    """Write NAME.toml for a store."""
    store.mkdir(exist_ok=True)
    (directory / f"{name}.toml").write_text(f'[store]\npath = "{store}"\n{more}', encoding="utf-8")


def served(store: Path) -> bool:
    """Say whether a service answers there."""
    return (store / ".indexer" / "control.sock").exists() and open_store(store).service_pid() is not None


def test_a_store_that_fails_stops_no_other_and_is_tried_again(program: Program, tmp_path: Path) -> None:
    """One directory is missing: the other is ready and indexed; when the first appears, it is served too."""
    good, late = tmp_path / "good", tmp_path / "late"
    good.mkdir()
    (good / "file").write_bytes(b"1")
    with program.watch(good, str(late)) as service:
        service.settle()
        record = logged(service, "tried again")
        assert (record["level"], record["store"]) == ("error", str(late))
        assert "does not exist" in record["message"]
        late.mkdir()
        until(lambda: served(late), "the second store")
        program.run("settle", late)
        # Its root goes, and its service fails for good; the first one goes on.
        assert service.status()["files"] == 1


def test_a_directory_of_configurations(program: Program, tmp_path: Path) -> None:
    """Each file's store is served; SIGHUP begins what is new, ends what is gone, and a bad file stops nothing."""
    etc, one, two, three = (tmp_path / name for name in ("etc", "one", "two", "three"))
    etc.mkdir()
    configuration(etc, "one", one)
    configuration(etc, "two", two)
    hosting = Service(program, one, ())
    hosting._argv = [*program.argv, "watch", "--config-dir", str(etc)]
    with hosting as service:
        assert (served(one), served(two)) == (True, True)
        configuration(etc, "three", three)
        (etc / "bad.toml").write_text("[store\n", encoding="utf-8")
        (etc / "two.toml").unlink()
        service.process.send_signal(signal.SIGHUP)
        until(lambda: served(three) and not served(two), "what is new begun, what is gone ended")
        assert logged(service, "tried again")["store"] == str(etc / "bad.toml")
        assert served(one)
        (three / "file").write_bytes(b"1")
        program.run("settle", three)
        assert program.json("status", three)["files"] == 1


def test_a_hang_up_puts_all_of_a_configuration_in_force(program: Program, tmp_path: Path) -> None:
    """A new schedule begins the service of that store anew, which goes on by it; a bad one changes nothing."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"', mode="report")
    assert store.config.path is not None
    text = store.config.path.read_text(encoding="utf-8")
    with program.watch(store.root) as service:
        service.settle()
        store.config.path.write_text(text.replace("02:00", "99:00"), encoding="utf-8")
        service.process.send_signal(signal.SIGHUP)
        assert "'99' is not a hour" in logged(service, "not valid")["message"]
        store.config.path.write_text(text.replace("02:00", "03:00"), encoding="utf-8")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: [job["when"] for job in service.status()["jobs"]] == ["every day at 03:00"], "the new schedule")
        service.settle()
        assert service.status()["state"] == "clean"
        assert sum(line.strip() == "ready" for line in service.log) == 1


def test_sigusr1_writes_the_state_into_the_log(program: Program, tmp_path: Path) -> None:
    """What `status` knows of each store, with its jobs, and the process's memory, threads and descriptors."""
    store = scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"', mode="report")
    with program.watch(store.root) as service:
        service.settle()
        service.process.send_signal(signal.SIGUSR1)
        record = logged(service, "state of a store")
        assert record["store"] == str(store.root)
        assert (record["state"]["state"], record["state"]["jobs"][0]["name"]) == ("clean", "cleanup")
        process = logged(service, "state of the process")["state"]
        assert process["pid"] == service.process.pid
        assert process["rss_bytes"] > 10_000_000
        assert process["descriptors"] > 5
        assert any("indexer" in name for name in process["names"])


def test_the_log_of_a_service_is_json_with_names_escaped(program: Program, tmp_path: Path) -> None:
    """Every line but `ready` and what the command says itself; a run of the schedule is in it."""
    store = scheduled(tmp_path / "evil\n\x1b[31m", 'cleanup = "every second"')
    with program.watch(store.root) as service:
        record = logged(service, "cleanup: 3 files removed")
        assert (record["level"], record["logger"]) == ("info", "indexer.service.schedule")
        assert record["store"].endswith("evil\\n\\x1b[31m")
        for line in service.log:
            assert line.strip() == "ready" or json.loads(line)["time"].endswith("Z"), line
