"""Nothing is removed or renamed by a path that somebody could exchange on the way, in any room of the program."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import indexer

PACKAGE = Path(indexer.__file__).parent
DIRECTORIES = {
    "unlink": {"dir_fd"},
    "remove": {"dir_fd"},
    "rmdir": {"dir_fd"},
    "rmtree": {"dir_fd"},
    "rename": {"src_dir_fd", "dst_dir_fd"},
    "replace": {"src_dir_fd", "dst_dir_fd"},
    "removedirs": set(),
    "renames": set(),
    "move": set(),
}
"""Of `os` and `shutil`: what each must be told to go by the descriptor of a directory; the last three cannot be."""
MODULES = {"os", "shutil"}
OF_PATH = {"unlink", "rmdir", "rename"}
"""Methods of `Path`, which never go by a descriptor. (`replace` is a name of strings and times, too.)"""
BY_PATH = {
    ("cli/installing.py", "uninstall"),
    ("enforce/ballast.py", "give_up"),
    ("reports/permissions.py", "lease_check"),
    ("service/shared.py", "_signpost"),
    ("service/shared.py", "shared_place"),
    ("store/control.py", "_drop_index"),
    ("watch/native.py", "_eat"),
}
"""What goes by path all the same, in directories that only we (or root) can write to: each says so where it stands."""


def _calls(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Call]]:
    """Yield (name of the function it stands in, call) of each removal and rename that is not by descriptor."""
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Call) and _by_path(node):
            yield function, node
        yield from _calls(node, inside)


def _by_path(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return isinstance(call.func, ast.Name) and call.func.id in DIRECTORIES.keys() - {"replace"}
    name = call.func.attr
    if isinstance(call.func.value, ast.Name) and call.func.value.id in MODULES:
        wanted = DIRECTORIES.get(name)
        told = {keyword.arg for keyword in call.keywords}
        return wanted is not None and not (wanted and wanted <= told)
    return name in OF_PATH


def _found(source: str) -> list[tuple[str, ast.Call]]:
    return list(_calls(ast.parse(source)))


def test_removals_go_by_descriptor_or_say_why_not() -> None:
    """Every removal and rename names one component of an open directory, but for a list; those say whose it is."""
    seen = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        lines = source.splitlines()
        for function, call in _found(source):
            place = (file.relative_to(PACKAGE).as_posix(), function)
            assert "# by path: " in lines[call.lineno - 1], f"{place}, line {call.lineno}"
            seen.add(place)
    assert seen == BY_PATH


def test_the_search_finds_what_it_looks_for() -> None:
    """By path, by one descriptor of two, by a method of Path, by an imported name: found; by descriptor: not."""
    found = _found(
        """
def bad(path, fd):
    os.unlink(path)
    os.rename(path, path, src_dir_fd=fd)
    path.unlink()
    rmtree(path)
    shutil.move(path, path)
def good(path, fd):
    os.unlink(path, dir_fd=fd)
    os.rename(path, path, src_dir_fd=fd, dst_dir_fd=fd)
    "text".replace("a", "b")
"""
    )
    assert [function for function, _ in found] == ["bad"] * 5
