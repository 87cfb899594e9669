"""Attacks on a child that goes as one, in the windows that a single file does not have: between its files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.enforce.rows import Plain
from indexer.policy.plan import Plan, Remove
from indexer.policy.units import Whole, decide_unit
from indexer.records import Unit
from indexer.rules import Rule
from indexer.syscalls.rename import rename_noreplace
from tests.enforce.arena import Arena, Staged, digest

JOBS = Rule("jobs", ("jobs/**",), ttl=86400, unit="child", action="delete")
KEPT = Rule("kept", ("kept/**",))
FILES = {b"jobs/one/a": b"A", b"jobs/one/deep/b": b"B", b"jobs/one/deep/c": b"C"}


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """Return a store with one child that is to be destroyed."""
    made = Arena(tmp_path / "store", rules=(JOBS, KEPT))
    for path, content in FILES.items():
        made.write(path, content)
    (made.root / "kept").mkdir()
    yield made
    made.close()


def one(arena: Arena, rule: Rule = JOBS) -> Plan:
    """Return the plan that takes the child."""
    unit = Unit(b"jobs/one", tuple(arena.indexed(path, rule) for path in sorted(FILES)))
    found = decide_unit(rule, unit, now=int(arena.now))
    assert isinstance(found, Whole)
    removes: tuple[Remove, ...] = found.removes
    return Plan(removes, {}, truncated=False, refused=None, now=int(arena.now))


def alive(arena: Arena) -> set[str]:
    """Return the hashes of all that is in the tree and in the trash."""
    return set(arena.contents().values())


def test_a_file_made_anew_under_the_name_of_one_that_went_keeps_the_child(
    arena: Arena, stage: Callable[..., Staged]
) -> None:
    """A job that begins again while it goes is not half of the old and half of the new one: nothing is destroyed."""
    stage("child.staged", lambda _: arena.write("jobs/one/a", b"anew") and None)
    result = arena.run(one(arena))
    assert (result.files_removed, result.kept) == (0, {"new_file": 2})
    assert [path for path, _ in result.errors] == [b"jobs/one/a"], "its old file cannot come back: said so, and kept"
    assert {digest(content) for content in FILES.values()} | {digest(b"anew")} <= alive(arena)


def test_a_directory_that_somebody_saves_in_between_loses_nothing(arena: Arena, stage: Callable[..., Staged]) -> None:
    """Who moves a part of a child to where it is kept forever, while its files are put aside, finds none destroyed."""
    stage("child.staged", lambda _: os.rename(arena.root / "jobs/one/deep", arena.root / "kept/deep"))
    result = arena.run(one(arena))
    assert (result.files_removed, result.kept) == (0, {"directory_moved": 1})
    assert {digest(content) for content in FILES.values()} <= alive(arena)
    assert (arena.root / "jobs/one/a").read_bytes() == b"A"


def test_nothing_is_put_back_into_somebody_elses_directory(arena: Arena, stage: Callable[..., Staged]) -> None:
    """A directory put in the place of the child's gets none of its files: its owner could not read them before."""

    def exchange(_name: bytes) -> None:
        os.rename(arena.root / "jobs/one", arena.root / "jobs/hidden")
        (arena.root / "jobs/one/deep").mkdir(parents=True)
        (arena.root / "jobs/one/deep/bait").write_bytes(b"bait")

    stage("child.staged", exchange)
    result = arena.run(one(arena))
    assert result.files_removed == 0
    assert {path for path in arena.tree() if path.startswith(b"jobs/one/")} == {b"jobs/one/deep/bait"}
    assert {digest(content) for content in FILES.values()} <= alive(arena)
    assert {outcome for path, (outcome, _) in arena.outcomes(result.run).items() if path in FILES} == {"stray"}


def test_what_cannot_come_back_is_remembered_on_a_full_disk_too(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that stays in the trash against the run's will is in the ledger, whatever the run tries after it."""
    real = rename_noreplace

    def full(from_fd: int, name: bytes, to_fd: int, target: bytes) -> None:
        if name == b"c":
            (arena.root / "jobs/one/a").write_bytes(b"anew")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(from_fd, name, to_fd, target)

    monkeypatch.setattr("indexer.enforce.remove.rename_noreplace", full)
    result = arena.run(one(arena))
    assert arena.outcomes(result.run)[b"jobs/one/a"][0] == "stray"
    assert digest(b"A") in arena.in_trash()
    assert {digest(b"B"), digest(b"C"), digest(b"anew")} <= alive(arena)


@pytest.mark.parametrize("path", [b"jobs/one/deep/c", b"jobs/one/later", b"jobs/one", b"jobs"])
def test_a_hold_that_comes_while_it_is_put_aside_brings_it_back(
    arena: Arena, stage: Callable[..., Staged], path: bytes
) -> None:
    """A large child takes its time: who protects a part before its end is decided still has it."""

    def protect(_name: bytes) -> None:
        kind = "file" if path.endswith(b"c") else "tree"
        arena.ledger.add_hold(path, kind, until=None, reason="", by="me", now=arena.now)

    stage("child.staged", protect)
    result = arena.run(one(arena))
    assert (result.files_removed, result.kept, result.errors) == (0, {"held": 3}, ())
    assert {name: arena.contents()[name] for name in FILES} == {name: digest(text) for name, text in FILES.items()}


def test_a_hold_waits_for_a_child_whose_end_is_decided(arena: Arena, stage: Callable[..., Staged]) -> None:
    """From the decision on a removal is under way, until the last of its files is gone."""
    seen: list[bool] = []
    stage("child.decided", lambda _: seen.append(arena.ledger.in_flight(b"jobs/one/deep", tree=True)))
    arena.run(one(arena))
    assert seen == [True]
    assert not arena.ledger.in_flight(b"", tree=True)


def test_a_recovery_that_is_cut_off_brings_the_rest_back_the_next_time(arena: Arena) -> None:
    """A power loss that undid a rename, then a crash of the recovery itself: the child is whole in the end."""
    run = arena.run(one(arena, replace(JOBS, action="trash"))).run
    assert run is not None
    first = next(action for action in arena.ledger.actions(run) if action.path == b"jobs/one/a")
    (arena.root / "jobs/one/deep").mkdir(parents=True)
    os.rename(arena.root / ".indexer/trash" / (first.trash_name or ""), arena.root / "jobs/one/a")
    arena.ledger.advance(run, endings=[Plain("kept", "rolled_back", int(arena.now), None, None, run, first.seq)])
    arena.ledger._write(  # what nothing but a crash does
        lambda connection: connection.execute("UPDATE run SET finished = NULL WHERE id = ?", (run,))
    )
    assert arena.recover().errors == ()
    assert {name: arena.contents()[name] for name in FILES} == {name: digest(text) for name, text in FILES.items()}
