"""`init --adopt` loses nothing that lies in a trash, and no store ever touches what another keeps in a tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from indexer.cli.main import run
from indexer.enforce import hooks
from indexer.store.locks import locked
from tests.capabilities import needs
from tests.cli.conftest import Call
from tests.enforce.arena import Staged
from tests.service.policies import enforced
from tests.users import NOBODY as STRANGER

DAY = 86_400
CONTENT = b"the only copy"


def everything(action: str, *globs: str, **store: Any) -> str:
    """Return a configuration whose one class is all that `globs` cover."""
    one = {
        "name": "all", "match": list(globs or ("**",)), "ttl": "7d", "arrival_floor": False, "min_age": "0s",
        "action": action, "trash_ttl": "30d",
    }  # fmt: skip
    text = enforced(one)
    keys = "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in store.items())
    return text.replace("[store]\n", f"[store]\n{keys}")


def old(path: Path, content: bytes = CONTENT) -> None:
    """Make a file that nobody has touched for a hundred days."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - 100 * DAY,) * 2)


def copied(root: Path) -> None:
    """Put a copy of the tree in its place, as after a restore or a move to another disk."""
    copy = root.with_name("copy")
    subprocess.run(["cp", "-a", root, copy], check=True)
    root.rename(root.with_name(f"away-{time.monotonic_ns()}"))
    copy.rename(root)


@dataclass
class Tree:
    """A tree with a configuration, which lies in it or outside."""

    call: Call
    root: Path
    config: Path | None

    def __call__(self, *argv: str, exits: int = 0) -> str:
        """Run a command on it; return what it said on both."""
        options = () if self.config is None else ("--config", self.config)
        where = () if argv[0] == "init" else ("-C", self.root)
        done = self.call(*where, *argv, *((self.root,) if argv[0] == "init" else ()), *options)
        assert done.code == exits, done
        return done.stdout + done.stderr

    def json(self, *argv: str, exits: int = 0) -> Any:
        """Run a command; return its document."""
        return json.loads(self(*argv, "--json", exits=exits))

    def id(self) -> str:
        """Return the id of the store."""
        state = self.root / ".indexer" if self.config is None else self.config.with_name(f"state-{self.config.stem}")
        return str(json.loads((state / "store.json").read_text())["id"])

    def planned(self) -> list[str]:
        """Return the paths that a plan names."""
        return [action["path"] for action in self.json("plan")["actions"]]


@pytest.fixture(params=["outside", "inside"])
def tree(request: pytest.FixtureRequest, call: Call, tmp_path: Path) -> Tree:
    """Return a store that trashes all that is old, its state inside its tree, or outside of one of somebody else's."""
    return made(call, tmp_path, "trash", outside=request.param == "outside")


def made(call: Call, tmp_path: Path, action: str, *, outside: bool) -> Tree:
    """Make such a store, scanned, with one old file."""
    root = tmp_path / "tree"
    old(root / "up" / "PRECIOUS")
    config = None
    if outside:
        os.chown(root, STRANGER, STRANGER)
        config = tmp_path / "a.toml"
        config.write_text(everything(action, path=root, state=tmp_path / "state-a"))
    else:
        root.chmod(0o755)
        (root / "indexer.toml").write_text(everything(action))
    made = Tree(call, root, config)
    made("init")
    made("scan")
    return made


def in_trash(root: Path) -> list[Path]:
    """Return the files of every trash in a tree."""
    return [path for path in root.rglob("*") if path.parent.name == "trash" and path.is_file()]


@needs("CAP_CHOWN")
def test_an_adopted_store_keeps_its_trash(tree: Tree) -> None:
    """It is restorable as before, and no plan names what lies in it."""
    tree("cleanup", "-y")
    assert len(in_trash(tree.root)) == 1
    copied(tree.root)
    assert "1 object known again" in tree("init", "--adopt")
    tree("scan")
    assert tree.planned() == []
    tree("cleanup", "-y")
    assert [one["path"] for one in tree.json("restore", "-y", "up/PRECIOUS")["restored"]] == ["up/PRECIOUS"]
    assert (tree.root / "up" / "PRECIOUS").read_bytes() == CONTENT


@needs("CAP_CHOWN")
def test_the_trash_of_an_adopted_store_can_be_emptied(tree: Tree) -> None:
    """By the command, and by time."""
    tree("cleanup", "-y")
    copied(tree.root)
    tree("init", "--adopt")
    assert tree.json("trash", "empty", "-y")["files_removed"] == 1
    assert in_trash(tree.root) == []


@needs("CAP_CHOWN")
def test_the_trash_of_an_adopted_store_carries_its_new_id(call: Call, tmp_path: Path) -> None:
    """There is one directory around it, and adopting twice changes nothing."""
    tree = made(call, tmp_path, "trash", outside=True)
    tree("cleanup", "-y")
    former = tree.id()
    copied(tree.root)
    tree("init", "--adopt")
    for _ in range(2):
        assert tree.id() != former
        assert [path.name for path in tree.root.glob(".indexer*")] == [f".indexer-{tree.id()}"]
        tree("init", "--adopt")


@needs("CAP_CHOWN")
def test_another_object_in_the_trash_is_a_stray(tree: Tree) -> None:
    """It is named, no run destroys it or fails for it, and it can be brought back."""
    tree("cleanup", "-y")
    copied(tree.root)
    (there,) = in_trash(tree.root)
    there.write_bytes(b"something else")
    document = tree.json("init", "--adopt")
    assert document["trash"] == {"renewed": 0, "strays": ["up/PRECIOUS"]}
    tree("scan")
    tree("cleanup", "-y")
    tree("trash", "empty", "--older-than", "0s", "-y")
    tree("restore", "-y", "up/PRECIOUS")
    assert (tree.root / "up" / "PRECIOUS").read_bytes() == b"something else"


@needs("CAP_CHOWN")
def test_a_trash_left_behind_is_taken_along_later(call: Call, tmp_path: Path) -> None:
    """An adoption was cut off, or did not do it: the store is refused until it is adopted again, and has one trash."""
    tree = made(call, tmp_path, "trash", outside=True)
    tree("cleanup", "-y")
    former = tree.id()
    copied(tree.root)
    tree("init", "--adopt")
    now, before = (tree.root / f".indexer-{one}" for one in (tree.id(), former))
    for others in ((), ("another",)):
        now.rename(before)
        for name in others:
            (now / "trash").mkdir(parents=True)
            (now / "trash" / name).write_bytes(b"another")
            now.chmod(0o700)
            (now / "trash").chmod(0o700)
        said = tree("scan", exits=1)
        assert before.name in said
        assert "init --adopt" in said
        tree("init", "--adopt")
        assert not before.exists()
        assert len(in_trash(tree.root)) == 1 + len(others)
    tree("scan")
    tree("restore", "-y", "up/PRECIOUS")
    assert (tree.root / "up" / "PRECIOUS").read_bytes() == CONTENT


@needs("CAP_CHOWN")
def test_what_is_not_the_stores_own_is_not_taken_along(call: Call, tmp_path: Path) -> None:
    """A stranger's directory, one that others reach into, a link: refused with exit code 1 or 2, and left alone."""
    tree = made(call, tmp_path, "trash", outside=True)
    tree("cleanup", "-y")
    parent = tree.root / f".indexer-{tree.id()}"
    copied(tree.root)
    os.chown(parent, STRANGER, STRANGER)
    assert "neither root nor you" in tree("init", "--adopt", exits=2)
    os.chown(parent, os.geteuid(), os.getegid())
    parent.chmod(0o755)
    (tree.root / parent.name / "trash").chmod(0o755)
    assert "chmod" in tree("init", "--adopt", exits=2)
    parent.chmod(0o700)
    (parent / "trash").chmod(0o700)
    parent.rename(tmp_path / "elsewhere")
    parent.symlink_to(tmp_path / "elsewhere")
    assert "cannot be" in tree("init", "--adopt", exits=1)
    assert len(in_trash(tmp_path / "elsewhere")) == 1
    parent.unlink()
    (tmp_path / "elsewhere").rename(parent)
    tree("init", "--adopt")
    tree("restore", "-y", "up/PRECIOUS")


def test_a_store_that_somebody_uses_is_not_adopted(call: Call, tmp_path: Path) -> None:
    """The trash is moved under the store's locks: exit code 5, and all is as it was."""
    tree = made(call, tmp_path, "trash", outside=False)
    former = tree.id()
    copied(tree.root)
    with locked(tree.root / ".indexer" / "service.lock", "service"):
        assert "service" in tree("init", "--adopt", exits=5)
    assert json.loads((tree.root / ".indexer" / "store.json").read_text())["id"] == former
    tree("init", "--adopt")


def cut_off(tree: Tree, window: str, *argv: str) -> None:
    """Run a command that is killed in a window."""
    child = os.fork()
    if child == 0:
        hooks.at = Staged(window, lambda _name: os.kill(os.getpid(), signal.SIGKILL))
        config = () if tree.config is None else ("--config", str(tree.config))
        run(["-C", str(tree.root), *argv, *config])
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@needs("CAP_CHOWN")
@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("window", ["ledger.after", "rename.after", "file.verified", "unlink.before"])
def test_a_run_that_was_cut_off_is_recovered_after_the_adoption(
    call: Call, tmp_path: Path, window: str, *, outside: bool
) -> None:
    """What was to be destroyed and was not is back in its place, though the whole tree is a copy."""
    tree = made(call, tmp_path, "delete", outside=outside)
    cut_off(tree, window, "cleanup", "-y")
    copied(tree.root)
    tree("init", "--adopt")
    tree("scan")
    tree("restore", "-y", "nothing", exits=1)  # which recovers first
    assert (tree.root / "up" / "PRECIOUS").read_bytes() == CONTENT
    assert in_trash(tree.root) == []
    assert tree.json("sql", "SELECT outcome, error FROM actions")["rows"] == [["kept", "rolled_back"]]


@needs("CAP_CHOWN")
def test_a_run_whose_trash_is_not_here_is_not_adopted(call: Call, tmp_path: Path) -> None:
    """What it had renamed would be recorded as gone; with the trash it is found."""
    tree = made(call, tmp_path, "delete", outside=True)
    cut_off(tree, "rename.after", "cleanup", "-y")
    former = tree.root / f".indexer-{tree.id()}"
    copied(tree.root)
    former.rename(tmp_path / "forgotten")
    said = tree("init", "--adopt", exits=1)
    assert f"{former.name}/trash" in said
    assert "up/PRECIOUS" in said
    (tmp_path / "forgotten").rename(former)
    tree("init", "--adopt")
    tree("restore", "-y", "nothing", exits=1)
    assert (tree.root / "up" / "PRECIOUS").read_bytes() == CONTENT


# ---------------------------------------------------------------------------------------------- one tree, one store


def second(tree: Tree, tmp_path: Path) -> Tree:
    """Return another configuration for the same tree, which destroys all that is old."""
    config = tmp_path / "b.toml"
    config.write_text(everything("delete", path=tree.root, state=tmp_path / "state-b"))
    return Tree(tree.call, tree.root, config)


@needs("CAP_CHOWN")
def test_a_second_store_in_the_same_tree_is_refused(call: Call, tmp_path: Path) -> None:
    """Exit code 2: it names the store, makes nothing, and leaves the trash alone; so does one in a directory of it."""
    tree = made(call, tmp_path, "trash", outside=True)
    tree("cleanup", "-y")
    other = second(tree, tmp_path)
    said = other("init", exits=2)
    assert f"is the store {tree.id()} already" in said
    assert f".indexer-{tree.id()}" in said
    assert not (tmp_path / "state-b").exists()
    os.chown(tree.root / "up", STRANGER, STRANGER)
    assert call("init", tree.root / "up", "--config", tmp_path / "c.toml").code == 2
    tree("restore", "-y", "up/PRECIOUS")


@needs("CAP_CHOWN")
def test_of_two_new_stores_the_second_to_work_is_refused(call: Call, tmp_path: Path) -> None:
    """Before either has done anything nothing in the tree shows it."""
    tree = made(call, tmp_path, "trash", outside=True)
    ours = tree.root / f".indexer-{tree.id()}"
    ours.rmdir()
    other = second(tree, tmp_path)
    other("init")
    tree("scan")
    assert f"is the store {tree.id()} already" in other("scan", exits=2)


@needs("CAP_CHOWN")
def test_no_store_touches_the_trash_of_another(call: Call, tmp_path: Path) -> None:
    """Two of them from before that was refused: neither plans, nor removes, what lies in the other's trash."""
    tree = made(call, tmp_path, "trash", outside=True)
    tree("cleanup", "-y")
    hidden = (tree.root / f".indexer-{tree.id()}").rename(tmp_path / "hidden")
    other = second(tree, tmp_path)
    other("init")
    other("scan")
    hidden.rename(tree.root / f".indexer-{tree.id()}")
    old(tree.root / "up" / "later")
    other("scan")
    assert other.planned() == ["up/later"]
    other("cleanup", "-y")
    tree("restore", "-y", "up/PRECIOUS")
    assert (tree.root / "up" / "PRECIOUS").read_bytes() == CONTENT


@needs("CAP_CHOWN")
def test_a_strangers_directory_of_that_name_is_ordinary(call: Call, tmp_path: Path) -> None:
    """Nobody hides files from the policy by giving a directory the name of a store's."""
    tree = made(call, tmp_path, "trash", outside=True)
    names = (".indexer-01234567-89ab-cdef-0123-456789abcdef", ".indexer", ".indexer-x")
    for name in names:
        old(tree.root / "up" / name / "trash" / "hidden")
        (tree.root / "up" / name).chmod(0o700)
    for name in names[:2]:
        os.chown(tree.root / "up" / name, STRANGER, STRANGER)
    tree("scan")
    assert sorted(tree.planned()) == ["up/.indexer-01234567-89ab-cdef-0123-456789abcdef/trash/hidden",
        "up/.indexer-x/trash/hidden", "up/.indexer/trash/hidden", "up/PRECIOUS"]  # fmt: skip
