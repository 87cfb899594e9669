"""Every remedy in the program has one form."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import indexer

ROOM = Path(indexer.__file__).parent


def _ends(node: ast.expr) -> Iterator[tuple[str, str]]:
    """Yield how each text that `node` can be begins and ends; "" where that is a value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value[:1], node.value[-1:]
    elif isinstance(node, ast.JoinedStr):
        texts = [part.value if isinstance(part, ast.Constant) else "" for part in (node.values[0], node.values[-1])]
        yield str(texts[0])[:1], str(texts[1])[-1:]
    elif isinstance(node, ast.IfExp):
        yield from _ends(node.body)
        yield from _ends(node.orelse)


def _remedies() -> Iterator[tuple[str, str, str]]:
    for path in sorted(ROOM.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [word.value for word in node.keywords if word.arg == "remedy"] if isinstance(node, ast.Call) else []
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                named += [node.value] if node.targets[0].id.lower().endswith("remedy") else []
            for value in named:
                for first, last in _ends(value):
                    yield f"{path.relative_to(ROOM)}:{value.lineno}", first, last


def test_a_remedy_reads_like_all_others() -> None:
    """It goes on after the message, indented or behind a colon: no capital, no full stop, more than one by `;`."""
    found = list(_remedies())
    assert len(found) > 150
    assert [where for where, first, last in found if first.isupper() or last == "."] == []
