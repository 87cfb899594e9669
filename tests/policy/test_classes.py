"""Classes: gitignore's language by pathspec, decided once a directory wherever the directory alone decides."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec
from pathspec._backends.simple.gitignore import SimpleGiBackend

from indexer.errors import ConfigError
from indexer.policy.classes import NO_CLASS, Classifier
from indexer.policy.globs import text
from indexer.rules import Rule

UPLOADS = Rule("uploads", ("uploads/**",), exclude=("**/.keep",))
FRAMES = Rule("frames", ("frames/**",), exclude=("**/*.manifest", "frames/pinned/**"))
IMAGES = Rule("images", ("*.jpg", "!thumb-*"))


def test_a_directory_that_decides_alone_is_constant() -> None:
    """Where no glob asks for the name, the class is known without any work per file."""
    at = Classifier((Rule("uploads", ("uploads/**",)), Rule("frames", ("frames/**",)))).at
    assert [
        (at(d).constant, at(d).index, at(d).aged) for d in (b"uploads", b"uploads/a/b", b"frames", b"other", b"")
    ] == [
        (True, 0, True),
        (True, 0, True),
        (True, 1, True),
        (True, None, False),
        (True, None, False),
    ]


@pytest.mark.parametrize(
    ("match", "directory", "constant", "index"),
    [
        ("uploads/*", b"uploads", True, 0),
        ("uploads/*", b"uploads/x", True, 0),
        ("uploads/*", b"frames", True, None),
        ("uploads/", b"a/uploads/b", True, 0),
        ("**", b"", True, 0),
        ("*", b"a/b", True, 0),
        ("/*", b"", True, 0),
        ("a/**/*", b"a/b", True, 0),
        ("a/**/*", b"b", True, None),
        ("uploads/*.jpg", b"frames", True, None),
        ("uploads/*.jpg", b"uploads/below", True, None),
        ("uploads/*.jpg", b"uploads", False, None),
        ("*.jpg", b"anything", False, None),
    ],
)
def test_only_directories_in_which_a_name_matters_cost_work_per_file(
    match: str, directory: bytes, constant: bool, index: int | None
) -> None:
    """A glob with a last component is asked about only in the directories that it can reach."""
    rules = Classifier((Rule("c", (match,)),)).at(directory)
    assert (rules.constant, rules.index) == (constant, index)


def test_an_excluded_file_keeps_its_class_and_is_not_aged() -> None:
    """A .keep counts in the usage of its class and never expires."""
    classifier = Classifier((UPLOADS, FRAMES))
    assert classifier.at(b"uploads").of(b".keep") == (0, False)
    assert classifier.at(b"uploads/deep").of(b".keep") == (0, False)
    assert classifier.at(b"uploads").of(b"keep") == (0, True)
    assert classifier.of(b"frames/pinned/x.jpg") == (1, False)
    assert classifier.of(b"frames/job/a.manifest") == (1, False)
    assert classifier.of(b"frames/job/a.jpg") == (1, True)
    assert classifier.of(b".keep") == NO_CLASS


def test_the_first_class_wins() -> None:
    """Order in the file is precedence, also where the names decide."""
    classifier = Classifier((IMAGES, UPLOADS))
    assert classifier.of(b"uploads/a.jpg") == (0, True)
    assert classifier.of(b"uploads/thumb-a.jpg") == (1, True)
    assert classifier.of(b"uploads/a.txt") == (1, True)
    assert classifier.of(b"other/a.txt") == NO_CLASS


def test_newlines_in_names_are_ordinary() -> None:
    """Neither a directory nor a file slips out of an exclude by having a newline in its name."""
    classifier = Classifier((UPLOADS, FRAMES))
    assert classifier.of(b"uploads/a\nb/.keep") == (0, False)
    assert classifier.of(b"uploads/.keep\n") == (0, True)
    assert classifier.of(b"frames/a\nb/c\nd.manifest") == (1, False)


def test_names_that_are_not_utf8_are_classified() -> None:
    """A name is bytes: undecodable ones match wildcards like any other."""
    classifier = Classifier((Rule("c", ("caf\u00e9/*.d\u00e4t",), exclude=("*?x*",)),))
    assert classifier.of("café/".encode() + b"\xff\xfe" + ".dät".encode()) == (0, True)
    assert classifier.of("café/".encode() + b"\xffx" + ".dät".encode()) == (0, False)


def test_ignored_directories_are_not_entered() -> None:
    """What lies below an ignored directory costs nothing; a file of that name is no directory."""
    at = Classifier((), ("**/.git/**", "*.swp", "build/")).at
    assert at(b"a").ignored(b".git", is_dir=True)
    assert not at(b"a").ignored(b".git", is_dir=False)
    assert at(b"a/.git").ignored(b"config", is_dir=False)
    assert at(b"").ignored(b"x.swp", is_dir=False)
    assert at(b"").ignored(b"build", is_dir=True)
    assert not at(b"").ignored(b"build", is_dir=False)
    assert not at(b"").ignored(b"src", is_dir=True)


def test_a_negated_ignore_keeps_the_directory_open() -> None:
    """With `!` something below may be wanted: the directory is entered and each file decided."""
    at = Classifier((), ("build/**", "!build/keep")).at
    assert not at(b"").ignored(b"build", is_dir=True)
    assert at(b"build").ignored(b"o.o", is_dir=False)
    assert not at(b"build").ignored(b"keep", is_dir=False)


def test_nothing_is_ignored_where_nothing_can_be() -> None:
    """The scan may skip the question entirely."""
    assert not Classifier((UPLOADS,)).at(b"uploads").ignores
    rules = Classifier((), ("cache/**",)).at(b"uploads")
    assert (rules.ignores, rules.ignores_files) == (True, False)


@pytest.mark.parametrize("pattern", ["", "   ", "# comment", "/", "a[b", "a\\", "[z-a]"])
def test_a_glob_that_can_never_match_is_refused(pattern: str) -> None:
    """An exclude that silently protects nothing would cost files."""
    with pytest.raises(ConfigError, match="class 'c': exclude"):
        Classifier((Rule("c", ("**",), exclude=(pattern,)),))


# ---------------------------------------------------------------------------------- against pathspec itself

SEGMENTS = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        ".keep",
        "*",
        "**",
        "*.t",
        "a*",
        "?",
        "*b*",
        "[ab]",
        "[!a]",
        "[a-c]*",
        "[+-9]",
        "a\\*",
        "***",
        "é",
        " ",
    ]
)
GLOBS = st.builds(
    lambda negate, root, segments, end: negate + root + "/".join(segments) + end,
    st.sampled_from(["", "", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=4),
    st.sampled_from(["", "", "/", "/**", "/*"]),
).filter(lambda glob: glob.strip() not in {"", "/", "!", "!/"})
NAMES = st.sampled_from(
    [b"a", b"b", b"ab", b"abc", b".keep", b"x.t", b"a*", "é".encode(), b"\xe9", b"\xff\xfe", b" ", b"9", b"***"]
) | st.binary(min_size=1, max_size=3).filter(
    lambda n: not {b"/", b"\0", b"\n"} & {bytes([c]) for c in n} and n not in {b".", b".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(b"/".join)


def oracle(patterns: tuple[str, ...], path: bytes, *, directory: bool = False) -> bool:
    """Ask pathspec itself, reading the list forwards as git and its compiled backends do."""
    spec = GitIgnoreSpec.from_lines(
        patterns, _test_backend_factory=lambda found: SimpleGiBackend(cast("Any", found), no_reverse=True)
    )
    # `./` keeps pathspec's normalisation from eating the first two characters of the path itself.
    return bool(spec.match_file("./" + text(path) + ("/" if directory else "")))


@settings(max_examples=1500, deadline=None)
@given(
    match=st.lists(GLOBS, min_size=1, max_size=3).map(tuple),
    exclude=st.lists(GLOBS, max_size=3).map(tuple),
    path=PATHS,
)
def test_the_fast_path_equals_pathspec(match: tuple[str, ...], exclude: tuple[str, ...], path: bytes) -> None:
    """Whatever the globs and the name, the split by directory and name decides as pathspec does."""
    directory, _, name = path.rpartition(b"/")
    rules = Classifier((Rule("c", match, exclude=exclude),)).at(directory)
    covered = oracle(match, path)
    expected = (0, not oracle(exclude, path)) if covered else NO_CLASS
    assert rules.of(name) == expected
    if rules.constant:
        assert (rules.index, rules.aged) == expected


@settings(max_examples=500, deadline=None)
@given(patterns=st.lists(GLOBS.filter(lambda g: g[0] != "!"), min_size=1, max_size=3).map(tuple), path=PATHS)
def test_without_negation_every_pathspec_backend_agrees(patterns: tuple[str, ...], path: bytes) -> None:
    """The order in which the list is read only matters with `!`."""
    covered = bool(GitIgnoreSpec.from_lines(patterns).match_file("./" + text(path)))
    assert (Classifier((Rule("c", patterns),)).of(path) != NO_CLASS) == covered


@settings(max_examples=500, deadline=None)
@given(globs=st.lists(st.lists(GLOBS, min_size=1, max_size=2).map(tuple), min_size=2, max_size=4), path=PATHS)
def test_the_first_covering_class_wins_whatever_the_globs(globs: list[tuple[str, ...]], path: bytes) -> None:
    """Several classes with globs that ask for names decide as one after the other would."""
    found, _ = Classifier(tuple(Rule(str(n), match) for n, match in enumerate(globs))).of(path)
    assert found == next((n for n, match in enumerate(globs) if oracle(match, path)), None)


@settings(max_examples=500, deadline=None)
@given(ignore=st.lists(GLOBS, min_size=1, max_size=3).map(tuple), path=PATHS, below=PATHS)
def test_ignoring_a_directory_loses_nothing_that_is_wanted(ignore: tuple[str, ...], path: bytes, below: bytes) -> None:
    """A file is ignored exactly as pathspec says, and a directory only if everything below it is."""
    directory, _, name = path.rpartition(b"/")
    rules = Classifier((), ignore).at(directory)
    assert rules.ignored(name, is_dir=False) == oracle(ignore, path)
    if not rules.ignores_files:
        assert not oracle(ignore, path)
    if rules.ignored(name, is_dir=True):
        assert oracle(ignore, path + b"/" + below)


@settings(max_examples=500, deadline=None)
@given(match=st.lists(GLOBS, min_size=1, max_size=3).map(tuple), path=PATHS, at=st.integers(0, 8))
def test_a_newline_decides_as_any_other_character(match: tuple[str, ...], path: bytes, at: int) -> None:
    """A newline put into a name changes nothing that another character in its place would not."""
    with_newline, with_other = path[:at] + b"\n" + path[at:], path[:at] + b"~" + path[at:]
    classifier = Classifier((Rule("c", match),))
    assert classifier.of(with_newline) == classifier.of(with_other)
