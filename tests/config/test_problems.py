"""Every mistake in a configuration is found, named by file and key, and has a remedy; all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.config import Config, read_config
from indexer.errors import ConfigError

FILE = Path("/srv/media/indexer.toml")
CLASS = '[[class]]\nname = "frames"\nmatch = ["frames/**"]\n'


def read(text: str, **environ: str) -> Config:
    """Read a configuration that lies nowhere."""
    return read_config(text.encode(), path=FILE, environ=environ)


def problems(text: str, **environ: str) -> list[tuple[str, str]]:
    """Return (key, message) of all that is wrong; every one has a file and a remedy."""
    with pytest.raises(ConfigError) as refused:
        read(text, **environ)
    for problem in refused.value.problems:
        assert set(problem) == {"file", "key", "message", "remedy"}
        assert problem["file"]
        assert problem["remedy"]
    return [(problem["key"], problem["message"]) for problem in refused.value.problems]


WRONG = [
    # unknown keys and tables, wrong shapes
    ("stroe = 1", "stroe", "unknown key"),
    ("[stroe]", "stroe", "unknown table"),
    ("mode = 'report'", "mode", "unknown key"),
    ("store = 3", "store", "is an integer, not a table"),
    ("[class]\nname = 'x'", "class", "is a table"),
    ("class = [1]", "class", "is a list"),
    ("[store]\nmoed = 'report'", "store.moed", "unknown key"),
    ("[store]\n'a\\u001bb' = 1", "store.a\\u001bb", "unknown key"),
    (CLASS + "tll = '7d'", 'class[1] "frames".tll', "unknown key"),
    # values
    ("[store]\nmode = 'enforced'", "store.mode", "'enforced' is not one of report, enforce"),
    ("[store]\nmode = 1", "store.mode", "is an integer, not a text"),
    ("[store]\npath = '~/x'", "store.path", '"~" is not expanded in a configuration'),
    ("[store]\npath = ''", "store.path", "is empty or holds a NUL"),
    ("[store]\naccess_resolution = 60", "store.access_resolution", "60 has no unit"),
    ("[store]\naccess_resolution = '60'", "store.access_resolution", '"60" has no unit'),
    ("[store]\nfilesystems = 'uploads'", "store.filesystems", "is a text, not a list"),
    ("[store]\nfilesystems = ['/uploads']", "store.filesystems[1]", '"/uploads" is absolute'),
    ("[store]\nfilesystems = ['a', '../b']", "store.filesystems[2]", '"../b" is not a plain path'),
    ("[store]\nfilesystems = ['a', 'a/']", "store.filesystems", "'a' is there twice"),
    ("[store]\nignore = [1]", "store.ignore[1]", "1 is not a glob"),
    ("[guards]\nmax_fraction = 0", "guards.max_fraction", "0 is not a share"),
    ("[guards]\nmax_fraction = 1.5", "guards.max_fraction", "1.5 is not a share"),
    ("[guards]\nmax_fraction = nan", "guards.max_fraction", "nan is not a share"),
    ("[guards]\nmax_fraction = '50%'", "guards.max_fraction", "is a text, not a number"),
    ("[guards]\nmax_files = 0", "guards.max_files", "0 is out of range"),
    ("[guards]\nmin_files = true", "guards.min_files", "is true or false, not an integer"),
    ("[guards]\nmax_files = 10.0", "guards.max_files", "is a number with a point, not an integer"),
    ("[guards]\nmax_bytes = '10G'", "guards.max_bytes", '"10G" can be read in two ways'),
    ("[guards]\nmax_bytes = 2026-01-01", "guards.max_bytes", "datetime.date(2026, 1, 1) is not a size"),
    # classes
    ("[[class]]\nmatch = ['a/**']", "class[1].name", "is missing"),
    ("[[class]]\nname = 'x'", 'class[1] "x".match', "is missing"),
    ("[[class]]\nname = 'a b'\nmatch = ['a/**']", 'class[1] "a b".name', "'a b' is not a name"),
    ("[[class]]\nname = 'x'\nmatch = []", 'class[1] "x".match', "is empty"),
    (CLASS + "ttl = '7x'", 'class[1] "frames".ttl', '"7x" is not a duration'),
    (CLASS + "ttl = '0s'", 'class[1] "frames".ttl', "'0s' is too small"),
    (CLASS + "ttl = -1", 'class[1] "frames".ttl', "-1 is not a duration: it is negative"),
    (CLASS + "ttl = 7", 'class[1] "frames".ttl', "7 has no unit"),
    (CLASS + "clock = 'mtime'", 'class[1] "frames".clock', "is a text, not a list"),
    (CLASS + "clock = []", 'class[1] "frames".clock', "is empty"),
    (CLASS + "clock = ['mtimes']", 'class[1] "frames".clock[1]', "'mtimes' is not one of mtime, atime"),
    (CLASS + "arrival_floor = 'yes'", 'class[1] "frames".arrival_floor', "is a text, not true or false"),
    (CLASS + "skip_in_use = false", 'class[1] "frames".skip_in_use', "is true or false, not a text"),
    # globs that would match nothing, or not what they say
    (CLASS.replace("frames/**", "!x"), 'class[1] "frames".match[1]', '"!x": exceptions are not written with "!"'),
    (CLASS.replace("frames/**", "#x"), 'class[1] "frames".match[1]', '"#x" would be a comment'),
    (CLASS.replace("frames/**", "x "), 'class[1] "frames".match[1]', "'x ' begins or ends with white space"),
    (CLASS.replace("frames/**", "./x/**"), 'class[1] "frames".match[1]', '"./x/**" matches nothing'),
    (CLASS.replace("frames/**", "a/../b"), 'class[1] "frames".match[1]', '"a/../b" matches nothing'),
    (CLASS.replace("frames/**", "a//b"), 'class[1] "frames".match[1]', '"a//b" matches nothing'),
    (CLASS.replace("frames/**", "/"), 'class[1] "frames".match[1]', '"/" matches nothing'),
    (CLASS.replace("frames/**", "x[a"), 'class[1] "frames".match[1]', '"x[a" has an unfinished ['),
    (CLASS.replace('"frames/**"', "'x\\'"), 'class[1] "frames".match[1]', '"x\\" has an unfinished ['),
    # contradictions
    (CLASS + CLASS.replace("frames/", "f/"), 'class[2] "frames".name', 'class[1] "frames" has the same name'),
    (
        CLASS.replace("frames/**", "*.tmp") + "remove_empty_dirs = true",
        'class[1] "frames".match',
        'remove_empty_dirs: "*.tmp" does not say which directory',
    ),
    (
        CLASS.replace("frames/**", "**") + "remove_empty_dirs = true",
        'class[1] "frames".match',
        'remove_empty_dirs: "**" does not say which directory',
    ),
]


@pytest.mark.parametrize(("text", "key", "message"), WRONG, ids=[f"{key}-{message[:24]}" for _, key, message in WRONG])
def test_a_mistake_is_named_by_its_key(text: str, key: str, message: str) -> None:
    """One mistake, one problem, at the key where it is."""
    found = problems(text)
    assert [known for known, _ in found] == [key]
    assert found[0][1].startswith(message)


SEVERAL = [
    (
        CLASS + "quota = { high = '1G', per = 'user', siez = 1 }",
        {
            'class[1] "frames".quota.siez': "unknown key",
            'class[1] "frames".quota.high': '"1G" can be read in two ways',
            'class[1] "frames".quota.per': "'user' is not one of class, child",
        },
    ),
    (CLASS + "quota = { high = '1GiB', low = '2GiB' }", {'class[1] "frames".quota': "low is above high"}),
    (
        CLASS.replace("frames/**", "*") + "quota = { high = '1GiB', per = 'child' }",
        {'class[1] "frames".match': 'quota per = "child": "*" does not say which directory'},
    ),
    (
        CLASS + "filename_time = { regex = '(a)(b)', format = '%Y' }",
        {'class[1] "frames".filename_time': "regex has 2 groups"},
    ),
    (
        "[watermark]\norder = ['frames']\ncapacity = '1TiB'\ninodes = { high = 0.9, low = 0.8 }\n" + CLASS,
        {"watermark.capacity": "has no threshold of its own"},
    ),
    ("[watermark]\norder = ['nobody']", {"watermark.order[1]": 'there is no class "nobody"'}),
    (
        "[watermark]\norder = ['frames']\nspace = { high = 0.8, low = 0.9 }\n" + CLASS,
        {"watermark.space": "low is above high"},
    ),
    (
        "[watermark]\norder = ['frames']\nmin_free = { at = '10GiB', until = '5GiB' }\n" + CLASS,
        {"watermark.min_free": "at is above until"},
    ),
    ("[permissions]\ndir_mode = '0999'", {"permissions.dir_mode": "'0999' is not a mode"}),
]


@pytest.mark.parametrize(
    ("text", "expected"), SEVERAL, ids=[next(iter(expected)) + str(n) for n, (_, expected) in enumerate(SEVERAL)]
)
def test_what_lies_in_a_table_is_named_too(text: str, expected: dict[str, str]) -> None:
    """Keys of inline tables, and contradictions between them."""
    found = problems(text)
    for key, message in expected.items():
        assert any(known == key and said.startswith(message) for known, said in found), found


def test_all_problems_come_at_once() -> None:
    """Nobody has to run the check five times; the message counts them."""
    text = (
        "a = 1\n[store]\nmode = 'x'\nignore = ['!a', '#b']\n[guards]\nmax_files = -1\n" + CLASS + "ttl = 'x'\nfoo = 1\n"
    )
    with pytest.raises(ConfigError) as refused:
        read(text, INDEXER_STORE_BACKEND="x", INDEXER_GUARDS_MAX_FIELS="1")
    assert str(refused.value) == "/srv/media/indexer.toml: 9 problems"
    assert sorted((problem["file"], problem["key"]) for problem in refused.value.problems) == sorted(
        [
            ("/srv/media/indexer.toml", "a"),
            ("/srv/media/indexer.toml", "store.mode"),
            ("/srv/media/indexer.toml", "store.ignore[1]"),
            ("/srv/media/indexer.toml", "store.ignore[2]"),
            ("INDEXER_STORE_BACKEND", "store.backend"),
            ("/srv/media/indexer.toml", "guards.max_files"),
            ("environment", "INDEXER_GUARDS_MAX_FIELS"),
            ("/srv/media/indexer.toml", 'class[1] "frames".ttl'),
            ("/srv/media/indexer.toml", 'class[1] "frames".foo'),
        ]
    )


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[store]\nmoed = 1", 'did you mean "mode"?'),
        ("[stroe]", 'did you mean "store"?'),
        ("access_resolution = '60s'", "it belongs to [store]"),
        ("[store]\nttl = '7d'", "it belongs to [[class]]"),
        ("[store]\nmode = 'enforced'", 'did you mean "enforce"?'),
        ("[guards]\nmax_bytes = '10G'", "write 10GiB (1024) or 10GB"),
        (CLASS.replace("frames/**", "./x/**"), 'write "x/**"'),
        ("[class]\nname = 'x'", "write [[class]], with two brackets, before each one"),
    ],
)
def test_a_remedy_can_be_followed(text: str, remedy: str) -> None:
    """It says what to write."""
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert refused.value.problems[0]["remedy"] == remedy
    assert refused.value.remedy == remedy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[store\n", "is not TOML: "),
        (b"a = 1\na = 2\n", "is not TOML: "),
        (b"\xff\xfe", "is not UTF-8 at byte 0"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_not_toml_says_where(content: bytes, message: str) -> None:
    """A file that cannot be read at all is one problem, with its place."""
    with pytest.raises(ConfigError) as refused:
        read_config(content, path=FILE, environ={})
    assert [problem["message"].startswith(message) for problem in refused.value.problems] == [True]


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Some editors write one."""
    assert read_config(b"\xef\xbb\xbf[store]\nmode = 'enforce'", path=FILE, environ={}).store.mode == "enforce"


FRAMES = 'class[1] "frames"'
FIRST = "matches all of it first; put the narrower one before the wider"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "[store]\nmode = 'enforce'\n" + CLASS + "ttl = '10m'",
            'class[1] "frames": min_age 1h is longer than ttl 10m, so nothing goes before 1h',
        ),
        (CLASS + "max_fraction = 1", 'class[1] "frames": max_fraction = 1 lets one run remove everything'),
        ("[store]\nmode = 'enforce'", 'store.mode = "enforce", but no class has a ttl: nothing expires'),
        (CLASS + "action = 'delete'\ntrash_ttl = '1h'", f'{FRAMES}: trash_ttl has no effect with action = "delete"'),
        (
            CLASS + "filename_time = { regex = '_([0-9]{8})', format = '%Y%m%d' }",
            f'{FRAMES}: filename_time has no effect without clock = ["filename"]',
        ),
        (CLASS + "whole_directories = true", f"{FRAMES}: whole_directories has no effect without remove_empty_dirs"),
        (
            CLASS + "whole_directories = true\nremove_empty_dirs = true\naction = 'system-trash'",
            f'{FRAMES}: whole_directories has no effect with action = "system-trash"',
        ),
        (
            CLASS + "whole_directories = true\nremove_empty_dirs = true\nunit = 'child'",
            f'{FRAMES}: whole_directories has no effect with unit = "child": all files of a child go, or none',
        ),
        (CLASS + CLASS.replace('"frames"', '"b"'), f'class[2] "b" never applies: {FRAMES} {FIRST}'),
        (
            CLASS + '[[class]]\nname = "b"\nmatch = ["frames/tmp/**"]',
            f'class[2] "b" never applies: {FRAMES} {FIRST}',
        ),
        ("[store]\nignore = ['frames/**']\n" + CLASS, f"{FRAMES} never applies: store.ignore {FIRST}"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(text: str, warning: str) -> None:
    """It holds, and it is said."""
    assert read(text).warnings == (warning,)
