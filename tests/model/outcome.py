"""What became of one history, and how it is played again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OPERATIONS = 50
"""How many a history has, unless told."""


@dataclass(slots=True)
class Outcome:
    """What became of one history."""

    backend: str
    seed: int
    log: list[str] = field(default_factory=list)
    wrong: dict[str, Any] = field(default_factory=dict)
    lives: int = 1
    overflows: int = 0
    operations: int = 0

    def command(self) -> str:
        """Return what plays it again."""
        which = f"--backend {self.backend} --seed {self.seed} --operations {self.operations}"
        return f"python -m tests.model.sequence {which}"

    def __str__(self) -> str:
        """Show the history and what is wrong at its end."""
        lines = [f"{number:3} {line}" for number, line in enumerate(self.log)]
        return "\n".join([self.command(), *lines, *(f"WRONG {key}: {value}" for key, value in self.wrong.items())])
