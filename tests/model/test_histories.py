"""Seeded histories: after `settle` the index is the tree, whatever was done to tree, kernel queue and service.

A failure shows its history and the command that plays it again. The long run is `scripts/bench/run fuzz`, or `--soak`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.capabilities import needs
from tests.model import scripted, sequence

CHANGING = 20_000
"""First seed of the runs here. Any may be tried: `python -m tests.model.sequence --backend B --seed N`."""
BACKENDS = [pytest.param("fanotify", marks=needs("CAP_SYS_ADMIN")), "inotify", "native", "poll"]


def test_events_late_in_pieces_twice_or_lost_converge(mount: Callable[..., Path]) -> None:
    """150 histories played by hand: overflow, folded names, crashes, failing transactions, any split into batches."""
    place = mount("tmpfs")
    for seed in range(CHANGING, CHANGING + 150):
        outcome = scripted.play(place, "scripted", seed, operations=30)
        assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_service_that_is_ill_treated_converges(mount: Callable[..., Path], backend: str) -> None:
    """Real services and kernels: kill -9, stopped, paused, queues that overflow, while the tree changes."""
    place = mount("tmpfs")
    for seed in range(CHANGING, CHANGING + 6):
        outcome = sequence.play(place, backend, seed)
        assert not outcome.wrong, str(outcome)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_thousands_of_histories_converge(mount: Callable[..., Path], backend: str, kind: str) -> None:
    """250 of 50 operations on each backend and filesystem: 2,000 in all (about 15 minutes)."""
    place = mount(kind, size=512)
    wrong = []
    for seed in range(250):
        outcome = sequence.play(place, backend, seed)
        if outcome.wrong:
            wrong.append(str(outcome))
    assert not wrong, "\n".join(wrong)
