"""One history, drawn from a seed, under a real service on a real kernel, and what is wrong with the index after it.

    python -m tests.model.sequence --backend inotify --seed 4711

plays a history again, shows it, and fails when index and tree disagree. What the scheduler does in between is not in
the seed, so `--times 50` plays it again and again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from indexer.store.initialise import initialise_store
from tests.agreement import disagreements
from tests.model import scripted
from tests.model.forked import Forked, Wishes
from tests.model.operations import Operations
from tests.model.outcome import OPERATIONS, Outcome
from tests.mounts import mounted

if TYPE_CHECKING:
    from indexer.store import Store

BACKENDS = ("fanotify", "inotify", "native", "poll")
FAULT = 0.12
"""Share of the steps at which something is done to the service."""
PAUSES = (0.0, 0.0, 0.0, 0.0, 0.001, 0.005, 0.03)
"""Seconds between two operations: they interleave with the service in all ways. Nothing is waited for by these."""

CONFIGURATION = """
[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "7d"
[[class]]
name = "frames"
match = ["**/frames/**"]
ttl = "7d"
clock = ["atime", "mtime"]
[[class]]
name = "jobs"
match = ["job/**", "a/**"]
"""


def play(place: Path, backend: str, seed: int, operations: int = OPERATIONS) -> Outcome:
    """Play the history of `seed` in a new directory below `place`; return what is wrong with the index after it."""
    chance = Random(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"{backend}-{seed}-", dir=place))
    outcome = Outcome(backend, seed, operations=operations)
    root, outside = folder / "store", folder / "outside"
    for made in (root, outside):
        made.mkdir()
    (root / "indexer.toml").write_text(CONFIGURATION, encoding="utf-8")
    history = Operations(root, outside, chance)
    history.log = outcome.log
    for _ in range(chance.choice((0, 5, 20))):  # a tree that is there before
        history.step()
    store = initialise_store(root, environ={})
    wishes = Wishes(
        queue=chance.choice((0, 0, 64, 128)) if backend in {"inotify", "native"} else 0,
        pending=chance.choice((400_000, 400_000, 10)),
        budget=chance.choice((5_000, 5_000, 3, 20)),
        walker=chance.random() < 0.05,
    )
    outcome.log.append(f"{wishes}")
    try:
        with Forked(store, backend, wishes, seed) as service:
            _Treatment(service, history, store, chance, outcome).run(operations)
    except AssertionError as error:
        outcome.wrong["service"] = str(error)
    finally:
        history.close()
    if not outcome.wrong:
        shutil.rmtree(folder)
    return outcome


class _Treatment:
    """Operations, and what is done to the service between them."""

    def __init__(self, service: Forked, history: Operations, store: Store, chance: Random, outcome: Outcome) -> None:
        self._service = service
        self._history = history
        self._store = store
        self._chance = chance
        self._outcome = outcome
        self._resume: list[tuple[int, str]] = []
        self._dead = False

    def run(self, operations: int) -> None:
        chance = self._chance
        for number in range(operations):
            self._history.step()
            if pause := chance.choice(PAUSES):
                time.sleep(pause)
            for at, method in list(self._resume):
                if number >= at:
                    self._undo(at, method)
            if chance.random() < FAULT:
                self._do(number)
            if self._outcome.wrong:
                return
        self._undo_all()
        self._check("at the end")
        self._outcome.overflows = int(self._service.status()["overflows"])

    def _do(self, number: int) -> None:
        fault = self._chance.choice(("kill", "stop", "pause", "lose", "settle", "check"))
        until = number + self._chance.randint(0, 8)
        self._outcome.log.append(f"-- {fault}")
        if fault in {"settle", "check"} or self._dead:
            self._undo_all()
            if fault == "check":
                self._check(f"after operation {number}")
            else:
                self._service.settle()
                self._history.settled()
        elif fault == "kill":
            self._undo_all()
            self._service.kill()
            self._dead = True
            self._resume.append((until, "start"))
            self._outcome.lives += 1
        elif fault == "stop":
            self._service.stop_process()
            self._resume.append((until, "continue_process"))
        elif fault == "pause":
            self._service.pause_writer()
            self._resume.append((until, "resume_writer"))
        else:
            self._service.lose()

    def _undo(self, at: int, method: str) -> None:
        self._resume.remove((at, method))
        self._outcome.log.append(f"-- {method}")
        if method == "start":
            self._service.start(wait=self._chance.random() < 0.5)
            self._dead = False
        else:
            getattr(self._service, method)()

    def _undo_all(self) -> None:
        for at, method in list(self._resume):
            self._undo(at, method)

    def _check(self, when: str) -> None:
        self._service.settle()
        self._history.settled()
        wrong = disagreements(self._store.index_path, self._store.root)
        self._outcome.wrong |= {f"{when}: {key}": value for key, value in wrong.items()}


def main() -> int:
    """Play one history, and show it."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.sequence", description=__doc__)
    parser.add_argument("--backend", choices=(*BACKENDS, "scripted"), required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--operations", type=int, default=OPERATIONS)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--kind", default="tmpfs", help="filesystem to mount (tmpfs, ext4, xfs, btrfs)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="indexer-model-", ignore_cleanup_errors=True) as scratch:
        with mounted(options.kind, Path(scratch)) as place:
            for seed in range(options.seed, options.seed + options.seeds):
                for _ in range(options.times):
                    one = scripted.play if options.backend == "scripted" else play
                    outcome = one(place, options.backend, seed, options.operations)
                    if outcome.wrong or options.seeds * options.times == 1:
                        sys.stdout.write(f"{outcome}\n")
                        sys.stdout.flush()
                    failed += bool(outcome.wrong)
        sys.stdout.write(f"{failed} of {options.seeds * options.times} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
