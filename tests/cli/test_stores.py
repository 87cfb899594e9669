"""`init`, `config check` and `config show`, as their users see them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.trees import make


def test_init_writes_and_says_what_it_wrote(call: Call, tmp_path: Path) -> None:
    """Configuration, control directory, classes; and that nothing is removed."""
    done = call("init", tmp_path, "--profile", "media")
    assert done.code == 0
    assert f"{tmp_path} is a store." in done.stdout
    assert "contact-sheets" in done.stdout
    assert "Nothing is removed while mode is report." in done.stderr
    assert (tmp_path / "indexer.toml").is_file()
    assert (tmp_path / ".indexer" / "store.json").is_file()


def test_init_as_json(call: Call, tmp_path: Path) -> None:
    """The keys of the contract, classes by name."""
    document = call("init", tmp_path, "--profile", "media", "--json").document
    assert document["store"] == str(tmp_path)
    assert document["config"] == str(tmp_path / "indexer.toml")
    assert list(document["classes"]) == ["uploads", "frames", "contact-sheets", "outputs", "temp"]
    assert document["classes"]["frames"] == {
        "match": ["frames/**"],
        "tier": "warm",
        "ttl": 30 * 86400,
        "clock": ["mtime"],
    }


def test_init_means_the_current_directory(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DIR; INDEXER_STORE and -C name another."""
    for name in ("here", "there", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert call("init", "--json").document["store"] == str(tmp_path / "here")
    monkeypatch.setenv("INDEXER_STORE", str(tmp_path / "there"))
    assert call("init", "--json").document["store"] == str(tmp_path / "there")
    assert call("init", "-C", tmp_path / "elsewhere", "--json").document["store"] == str(tmp_path / "elsewhere")
    assert call("init", tmp_path, "-C", tmp_path).code == 2


def test_init_never_overwrites(call: Call, tmp_path: Path) -> None:
    """Exit 2 where a profile was asked for; without one it is the same store."""
    call("init", tmp_path, "--profile", "empty")
    (tmp_path / "indexer.toml").write_text("# mine\n")
    refused = call("init", tmp_path, "--profile", "media", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (2, "usage")
    again = call("init", tmp_path)
    assert (again.code, again.stdout.splitlines()[1]) == (0, f"configuration: {tmp_path}/indexer.toml, kept as it was")
    assert (tmp_path / "indexer.toml").read_text() == "# mine\n"


@pytest.mark.parametrize("target", ["/", "none", "file"])
def test_init_refuses_what_cannot_be_a_store(call: Call, tmp_path: Path, target: str) -> None:
    """Exit 2, with a remedy."""
    (tmp_path / "file").write_bytes(b"")
    done = call("init", tmp_path / target, "--json")
    assert done.code == 2
    assert done.document["error"]["remedy"]


def test_check_lists_every_error(call: Call, tmp_path: Path) -> None:
    """Exit 2; each with file, key, message and remedy; as text one below the other."""
    file = tmp_path / "new.toml"
    file.write_text('[store]\nmode = "x"\nfoo = 1\n')
    document = call("config", "check", file, "--json")
    assert document.code == 2
    assert [(error["file"], error["key"]) for error in document.document["errors"]] == [
        (str(file), "store.foo"),
        (str(file), "store.mode"),
    ]
    text = call("config", "check", file)
    assert text.code == 2
    assert text.stdout.splitlines() == [
        f"{file}: store.foo: unknown key",
        "    known: path, state, mode, backend, filesystems, ignore, ignore_readers, access_resolution",
        f"{file}: store.mode: 'x' is not one of report, enforce",
        "    known: report, enforce",
    ]


def test_check_judges_the_file_and_not_the_environment(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the environment: the file will be used elsewhere."""
    (tmp_path / "new.toml").write_text('[[class]]\nname = "a"\nmatch = ["a/**"]\nttl = "1m"\n')
    monkeypatch.setenv("INDEXER_STORE_MODE", "nonsense")
    done = call("config", "check", tmp_path / "new.toml")
    assert done.code == 0
    assert done.stdout.splitlines() == [
        'warning: class[1] "a": min_age 1h is longer than ttl 1m, so nothing goes before 1h',
        f"{tmp_path / 'new.toml'}: valid, 1 class, mode report",
    ]


def test_check_of_a_file_that_is_not_trusted_or_not_there(call: Call, tmp_path: Path) -> None:
    """Exit 2 in both cases."""
    file = tmp_path / "open.toml"
    file.write_text("")
    file.chmod(0o666)
    done = call("config", "check", file, "--json")
    assert done.code == 2
    assert "mode 0666" in done.document["errors"][0]["message"]
    assert call("config", "check", tmp_path / "none.toml").code == 2
    assert call("config", "check", tmp_path).code == 2


def test_check_without_a_file_checks_the_stores_own(call: Call, tmp_path: Path) -> None:
    """Exit 4 where the store has none."""
    call("init", tmp_path, "--profile", "cache")
    assert call("config", "check", "-C", tmp_path).stdout == f"{tmp_path}/indexer.toml: valid, 1 class, mode report\n"
    (tmp_path / "indexer.toml").unlink()
    assert call("config", "check", "-C", tmp_path).code == 4


def test_show_says_where_each_value_comes_from(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag, environment, file, default."""
    call("init", tmp_path, "--profile", "cache")
    monkeypatch.setenv("INDEXER_GUARDS_MAX_FILES", "7")
    document = call("config", "show", "-C", tmp_path, "--json").document
    assert document["config"]["guards"]["max_files"] == 7
    assert document["sources"]["guards.max_files"] == "INDEXER_GUARDS_MAX_FILES"
    assert document["sources"]["guards.min_files"] == document["file"] == str(tmp_path / "indexer.toml")
    assert document["sources"]["store.backend"] == "default"
    rows = {line.split()[0]: line.split()[1:] for line in call("config", "show", "-C", tmp_path).stdout.splitlines()}
    assert rows["class.cache.ttl"] == ["30d", str(tmp_path / "indexer.toml")]
    monkeypatch.setenv("INDEXER_STORE_MODE", "nonsense")
    assert call("config", "show", "-C", tmp_path).code == 2


def test_show_works_before_the_store_is_initialised(call: Call, tmp_path: Path) -> None:
    """A configuration elsewhere can be looked at first."""
    tree = tmp_path / "tree"
    make(tree, {})
    (tmp_path / "x.toml").write_text(f'[store]\npath = "{tree}"\n')
    document = call("config", "show", "--config", tmp_path / "x.toml", "--json").document
    assert document["config"]["store"]["path"] == str(tree)


def test_no_store_here_is_exit_4(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that makes one."""
    monkeypatch.chdir(tmp_path)
    done = call("config", "show", "--json")
    assert (done.code, done.document["error"]["code"]) == (4, "no_store")
    assert f"indexer init {tmp_path}" in done.document["error"]["remedy"]
    os.chdir("/")
