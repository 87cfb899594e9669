"""The model: any operations on a tree in any order with anything done to the events; hypothesis shrinks what fails."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from indexer.events import ROOT_ID, Rescan
from indexer.index.quick import quick_pass
from indexer.watch.fanotify import FanotifyWatcher
from indexer.watch.inotify import InotifyWatcher
from indexer.watch.source import Watcher
from tests.capabilities import needs
from tests.index.rig import NOW
from tests.model.operations import WEIGHTS, Operations
from tests.model.scripted import RULES, TREATMENTS, Scripted
from tests.watch.live import Live

SEEDS = st.integers(0, 1000)
KINDS = st.sampled_from(sorted(WEIGHTS))


class Machine(RuleBasedStateMachine):
    """A tree that anything may happen to, and an index that has to follow."""

    place: Path
    operations: Operations
    chance: Random

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.place))

    @rule(kinds=st.lists(KINDS, min_size=1, max_size=4), seed=SEEDS)
    def happen(self, kinds: list[str], seed: int) -> None:
        """Something happens in the tree; what is impossible now does not."""
        self.operations.chance.seed(seed)
        for kind in kinds:
            self.operations.do(kind)


class OverFakes(Machine):
    """No kernel: events are played in pieces, late, twice, or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Scripted(self.folder, Random(0))
        self.operations = self.model.operations

    @rule(what=st.sampled_from(sorted(TREATMENTS)), seed=SEEDS)
    def treat(self, what: str, seed: int) -> None:
        """Play or lose some of the events, or let the writer fail or die."""
        self.model.chance.seed(seed)
        self.model.treat(what)

    @rule()
    def settle(self) -> None:
        """At any moment the index can be brought to agree."""
        assert self.model.wrong() == {}

    def teardown(self) -> None:
        """And at the end."""
        try:
            assert self.model.wrong() == {}
        finally:
            self.model.close()
            shutil.rmtree(self.folder)


class OverAKernel(Machine):
    """The kernel's own events, by one of our watchers, with the writer in this process."""

    backend: str

    def __init__(self) -> None:
        super().__init__()
        (self.folder / "outside").mkdir()
        (self.folder / "root").mkdir()
        self.live = Live(self.folder, {}, rules=RULES, watcher=self._watcher())
        self.operations = Operations(self.live.root, self.folder / "outside", Random(0))

    def _watcher(self) -> Watcher:
        def clock() -> float:
            return float(NOW)

        if self.backend == "inotify":
            return InotifyWatcher(clock=clock, nap=0.001)
        self.mount = os.open(self.folder / "root", os.O_RDONLY)
        return FanotifyWatcher([self.mount], clock=clock, nap=0.001)

    @rule(budget=st.sampled_from([0, 1, 10, 5_000]))
    def turn(self, budget: int) -> None:
        """The writer takes what has been read so far."""
        self.live.index.apply(self.live.live.take(0.0), budget)

    @rule(seed=SEEDS)
    def overflow(self, seed: int) -> None:
        """Part of what has been read is lost, and the kernel says so."""
        chance = Random(seed)
        batch = self.live.live.take(0.0)
        for names in batch.hints.values():
            for name in [name for name in names if chance.random() < 0.7]:
                del names[name]
        batch.rescans.append(Rescan(ROOT_ID, tree=True, reason="overflow"))
        self.live.index.apply(batch, 3)

    @rule(kinds=st.lists(KINDS, max_size=4), seed=SEEDS)
    def restart(self, kinds: list[str], seed: int) -> None:
        """The service is down while things happen; the next life does a quick pass, then verifies."""
        live = self.live
        live.live.stop()
        live.close()
        self.happen(kinds, seed)
        live.live = self._watcher()
        live.live.start()
        live.open(watcher=live.live)
        live.index.doubt_everything()
        for _ in quick_pass(live.index):
            pass
        live.index.request_rescan(Rescan(ROOT_ID, tree=True, reason="verify"), verify=True)

    @rule()
    def settle(self) -> None:
        """At any moment the index can be brought to agree."""
        self.live.settled()
        self.operations.settled()
        wrong: dict[Any, Any] = {**self.live.wrong(), **self.live.misclassified()}
        assert wrong == {}

    def teardown(self) -> None:
        """And at the end."""
        try:
            self.settle()
        finally:
            self.operations.close()
            self.live.__exit__()
            shutil.rmtree(self.folder)


def run(machine: type[Machine], place: Path, examples: int) -> None:
    """Let hypothesis try."""
    machine.place = place
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_any_history_over_fakes(mount: Callable[..., Path]) -> None:
    """Whatever is played to the index in whatever order, it is brought to equal the tree."""
    run(OverFakes, mount("tmpfs"), 30)


@pytest.mark.parametrize("backend", [pytest.param("fanotify", marks=needs("CAP_SYS_ADMIN")), "inotify"])
def test_any_history_over_a_kernel(mount: Callable[..., Path], backend: str) -> None:
    """Whatever happens, the kernel's own events bring the index to equal the tree."""
    run(type("Machine", (OverAKernel,), {"backend": backend}), mount("tmpfs"), 25)
