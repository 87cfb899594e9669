"""`service install|uninstall|show`: the systemd units of a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import DIRECTORY, PATH
from indexer.errors import FilesystemError, UsageError

if TYPE_CHECKING:
    from indexer.store import Store

PLACE = click.option(
    "--unit-dir",
    type=PATH,
    default=Path("/etc/systemd/system"),
    show_default=True,
    metavar="DIR",
    help="Where the units lie.",
)
USER = click.option("--user", metavar="NAME", help="Run as this user, without privileges: by inotify.")


@click.group(epilog=examples("indexer service show /srv/media", "indexer service install /srv/media"))
@common_options
def service(_: Cli) -> None:
    """Write the systemd units of a store: the service, and a timer that cleans up when it is dead."""


@service.command(epilog=examples("indexer service show /srv/media", "indexer service show --user media"))
@DIRECTORY
@USER
@common_options
def show(cli: Cli, directory: Path | None, user: str | None) -> None:
    """Print the units; nothing is written."""
    units = _units(cli.open_store(directory), user)
    if cli.out.json:
        cli.out.document({"units": units})
        return
    for name, text in units.items():
        cli.out.text(f"# {name}")
        cli.out.text(text)


@service.command(epilog=examples("indexer service install /srv/media && systemctl daemon-reload"))
@DIRECTORY
@PLACE
@USER
@click.option("--force", is_flag=True, help="Overwrite units that say something else.")
@common_options
def install(cli: Cli, directory: Path | None, unit_dir: Path, user: str | None, force: bool) -> None:
    """Write the units. What has been edited since is not overwritten, unless forced."""
    units = _units(cli.open_store(directory), user)
    edited = [name for name, text in units.items() if _read(unit_dir / name) not in {None, text}]
    if edited and not force:
        raise UsageError(
            f"{unit_dir / edited[0]} says something else",
            remedy="--force overwrites it; `systemctl edit` keeps changes beside it",
        )
    for name, text in units.items():
        _write(unit_dir / name, text)
    first, _, timer = units
    cli.out.note(f"systemctl daemon-reload && systemctl enable --now {first} {timer}")
    _tell(cli, unit_dir, list(units))


@service.command(epilog=examples("indexer service uninstall /srv/media"))
@DIRECTORY
@PLACE
@common_options
def uninstall(cli: Cli, directory: Path | None, unit_dir: Path) -> None:
    """Remove the units; stop and disable them first."""
    gone = []
    for name in _units(cli.open_store(directory), None):
        try:
            (unit_dir / name).unlink()  # by path: in systemd's directory, or one that its caller names, root's or his
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FilesystemError(f"{unit_dir / name}: {error.strerror}", remedy="run as root") from error
        gone.append(name)
    _tell(cli, unit_dir, gone)


def _units(store: Store, user: str | None) -> dict[str, str]:
    from indexer.service.units import unit_files

    beside = os.path.join(os.path.dirname(sys.executable), "indexer")
    command = [beside] if os.access(beside, os.X_OK) else [sys.executable, "-m", "indexer"]
    return unit_files(store, command, user=user)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FilesystemError(f"{path}: {error.strerror}", remedy="run as root") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise FilesystemError(f"{path}: {error.strerror}", remedy="run as root, or name another --unit-dir") from error


def _tell(cli: Cli, unit_dir: Path, names: list[str]) -> None:
    if cli.out.json:
        cli.out.document({"units": [str(unit_dir / name) for name in names]})
        return
    for name in names:
        cli.out.text(str(unit_dir / name))
