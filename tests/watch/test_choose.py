"""Which backend a store gets, with the reason people are shown."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import UsageError
from indexer.watch.choose import Choice, choose_backend, make_watcher
from tests.capabilities import needs


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs"])
def test_fanotify_where_the_kernel_allows_it(mount: Callable[..., Path], kind: str) -> None:
    """`auto` takes fanotify on ordinary filesystems, for root."""
    assert choose_backend(mount(kind)).name == "fanotify"


@needs("CAP_SYS_ADMIN")
def test_overlayfs_falls_back_with_the_reason(mount: Callable[..., Path]) -> None:
    """What the kernel says stands in `backend_reason`; demanding fanotify there is an error, not a surprise."""
    root = mount("overlay")
    choice = choose_backend(root)
    assert choice.name == "inotify"
    assert choice.reason.startswith("no fanotify: ")
    assert choice.reason.endswith("; a watch on each directory")
    with pytest.raises(UsageError, match="does not work here: no fanotify: "):
        choose_backend(root, wanted="fanotify")


def fails_with(code: int) -> Callable[..., int]:
    """Return a system call that fails."""

    def call(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


def test_without_the_capability_the_reason_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unprivileged user learns which capability would help, and gets inotify."""
    monkeypatch.setattr("indexer.syscalls.fanotify.fanotify_init", fails_with(errno.EPERM))
    assert choose_backend(tmp_path) == Choice(
        "inotify", "no fanotify: fanotify needs CAP_SYS_ADMIN; a watch on each directory"
    )


def test_without_any_instance_left_polling_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both obstacles are named, the sysctl among them; watchdog's own observer would need one as well."""
    monkeypatch.setattr("indexer.syscalls.fanotify.fanotify_init", fails_with(errno.EPERM))
    monkeypatch.setattr("indexer.syscalls.inotify.inotify_init", fails_with(errno.EMFILE))
    choice = choose_backend(tmp_path)
    assert choice.name == "poll"
    assert "no inotify: this user's inotify instances are used up (fs.inotify.max_user_instances)" in choice.reason
    watcher = make_watcher(choice, tmp_path, tmp_path / ".indexer", [], clock=lambda: 0.0)
    assert watcher.reason.startswith("no fanotify: fanotify needs CAP_SYS_ADMIN; no inotify: ")


def test_another_platform_has_no_fanotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the platform's own interface serves."""
    monkeypatch.setattr("sys.platform", "darwin")
    assert choose_backend(tmp_path).name == "native"


@pytest.mark.parametrize("wanted", ["", "magic"])
def test_a_backend_that_is_not_there_is_a_usage_error(tmp_path: Path, wanted: str) -> None:
    """Not ignored: refused, with what there is."""
    with pytest.raises(UsageError) as caught:
        choose_backend(tmp_path, wanted=wanted)
    assert "native" in caught.value.remedy
