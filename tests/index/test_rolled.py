"""The sums of whole classes, which a store with many directories keeps beside the counters of single directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from indexer.index import derived
from indexer.index.apply import Index
from indexer.index.queries import Reader
from indexer.rules import Rule
from indexer.service.databases import _counters
from tests.index.rig import Rig, policy
from tests.trees import Node

RULES = (Rule("hot", ("hot/**",), ttl=1), Rule("cold", ("cold/**",), exclude=("**/.keep",), ttl=1))
TREE: dict[str, Node] = {
    "hot": {"a": {f"{number}": b"x" * 5000 for number in range(5)}, "b": {"1": b"", "2": b"22"}},
    "cold": {"c": {"3": b"333", ".keep": b""}},
    "none": b"4",
}
PLAIN = "SELECT class_id, sum(files), sum(bytes), sum(allocated) FROM usage GROUP BY 1 HAVING sum(files) > 0"
ROLLED = "SELECT class_id, files, bytes, allocated FROM class_usage WHERE files > 0 ORDER BY class_id"


def sums(index: Index) -> list[tuple[Any, ...]]:
    """Return the sums of the classes, which are those of the counters."""
    kept = index.connection.execute(ROLLED).fetchall()
    assert kept == index.connection.execute(PLAIN).fetchall()
    assert _counters(index.connection) == []
    return [tuple(row) for row in kept]


def test_they_follow_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that come, grow, shrink, go, move, are linked or classified anew, one by one and by whole directories."""
    monkeypatch.setattr(derived, "MANY", 2)
    with Rig(tmp_path, TREE, RULES) as rig:
        root, seen = rig.root, [sums(rig.index)]

        def changed(*places: str) -> None:
            rig.changed(*places)
            seen.append(sums(rig.index))

        (root / "hot/b/3").write_bytes(b"3" * 9000)
        changed("hot/b/3")
        (root / "hot/b/3").write_bytes(b"3")
        changed("hot/b/3")
        os.link(root / "hot/a/0", root / "cold/c/linked")
        changed("cold/c/linked")
        (root / "hot/a/0").unlink()
        changed("hot/a/0")
        (root / "hot/a").rename(root / "cold/a")
        changed("hot/a", "cold/a")
        rig.index.adopt(policy(RULES[1], Rule("rest", ("**",), ttl=1)))
        rig.settle()
        seen.append(sums(rig.index))
        for path in (root / "cold/a").iterdir():
            path.unlink()
        (root / "cold/a").rmdir()
        changed("cold/a")
        assert len({repr(each) for each in seen}) == len(seen)


def test_a_store_that_grows_gets_them_at_its_next_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small store pays nothing for them; what is asked is answered the same from both."""
    monkeypatch.setattr(derived, "MANY", 10)
    with Rig(tmp_path, TREE, RULES) as rig:
        assert derived.counters(rig.index.connection) == "usage"
        for number in range(10):
            (rig.root / f"hot/new-{number}").mkdir()
            (rig.root / f"hot/new-{number}/f").write_bytes(b"f")
        rig.changed(*(f"hot/new-{number}" for number in range(10)))
        with Reader.open(rig.path) as reader:
            before = reader.totals(), reader.class_totals(), reader.live_files()
        rig.verify()
        assert derived.counters(rig.index.connection) == "class_usage"
        assert [row[1] for row in sums(rig.index)] == [1, 17, 2]
        with Reader.open(rig.path) as reader:
            assert (reader.totals(), reader.class_totals(), reader.live_files()) == before


def test_a_wrong_sum_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `db check`, like a wrong counter."""
    monkeypatch.setattr(derived, "MANY", 0)
    with Rig(tmp_path, TREE, RULES) as rig:
        rig.execute("UPDATE class_usage SET files = files + 1 WHERE class_id = 1")
        assert _counters(rig.index.connection) == [
            "1 usage counters disagree with their rows; run `indexer db rebuild`"
        ]
