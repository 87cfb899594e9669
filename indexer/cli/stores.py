"""`init`, `config check` and `config show`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.cli._common import Cli, common_options, examples
from indexer.cli._paths import DIRECTORY, PATH
from indexer.errors import EXIT_DONE, EXIT_USAGE, ConfigError, IndexerError, NoStoreError, UsageError
from indexer.units import count, format_duration, show_name, show_text

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.service.adopting import Adopted
    from indexer.store import Store

PROFILES = ("media", "cache", "scratch", "empty")


@click.command(
    epilog=examples(
        "indexer init /srv/media                        propose classes for what lies there",
        "indexer init /srv/media --profile media        uploads, frames, contact-sheets, outputs, temp",
        "indexer init /home/app --config /etc/indexer/app.toml    a tree that belongs to somebody else",
    )
)
@DIRECTORY
@click.option("--profile", type=click.Choice(PROFILES), help="A ready policy, instead of one proposed from the tree.")
@click.option("--adopt", is_flag=True, help="Take over a store that was copied, or restored from a backup.")
@common_options
def init(cli: Cli, directory: Path | None, profile: str | None, adopt: bool) -> None:
    """Make DIR (default: the current directory) a store.

    Writes DIR/indexer.toml, in report mode, and the control directory DIR/.indexer. Nothing is overwritten, and
    nothing is ever removed before you have written `mode = "enforce"`.
    """
    from indexer.store import initialise_store
    from indexer.store.places import CONFIG

    if directory is not None and cli.store is not None:
        raise UsageError("both DIR and -C were given", remedy="name the directory once")
    environment = os.environ.get("INDEXER_STORE")
    chosen = directory or cli.store or Path(environment or ".")
    kept = os.path.lexists(cli.config or chosen / CONFIG)
    found: Adopted | None = None

    def settle(before: Store) -> None:
        from indexer.service.adopting import take_over_trash

        nonlocal found
        found = take_over_trash(before)

    store = initialise_store(chosen, profile, config_path=cli.config, adopt=adopt, settle=settle)
    if cli.out.json:
        trash = {} if found is None else {"trash": found.as_json()}
        cli.out.document({**_init_document(store), **trash})
    else:
        _show_init(cli, store, kept=kept)
        _show_trash(cli, found)


def _init_document(store: Store) -> dict[str, Any]:
    from indexer.config.show import class_document

    return {
        "store": show_text(str(store.root)),
        "id": store.id,
        "config": _text_of(store.config.path),
        "control": show_text(str(store.control)),
        "state": show_text(str(store.state)),
        "mode": store.config.store.mode,
        "may_remove": store.may_remove,
        "keep_reason": store.keep_reason,
        "classes": {rule.name: class_document(rule) for rule in store.config.classes},
    }


def _show_init(cli: Cli, store: Store, *, kept: bool) -> None:
    cli.out.text(f"{store.root} is a store.", style="bold")
    cli.out.text(f"configuration: {_text_of(store.config.path) or 'none'}{', kept as it was' if kept else ''}")
    cli.out.text(f"state: {store.state}")
    if store.config.classes:
        cli.out.text()
        rows = [
            (rule.name, " ".join(rule.match), "forever" if rule.ttl is None else format_duration(rule.ttl), rule.tier)
            for rule in store.config.classes
        ]
        cli.out.table(("class", "match", "kept", "tier"), rows)
    if store.keep_reason:
        cli.out.note(f"Nothing will be removed: {store.keep_reason}")
    elif store.config.store.mode == "report":
        cli.out.note("Nothing is removed while mode is report. Next: edit the classes, indexer scan, indexer plan.")


def _show_trash(cli: Cli, found: Adopted | None) -> None:
    if found is None:
        return
    if found.renewed:
        cli.out.text(f"trash: {count(found.renewed, 'object')} known again, restorable as before")
    for path in found.strays:
        cli.out.warn(f"{show_name(path)}: what lies in the trash is not what was put there; no run destroys it")
    if found.strays:
        cli.out.warn("look at it: indexer trash list; bring it back: indexer restore PATH")


@click.group(name="config")
@common_options
def config(_: Cli) -> None:
    """Check a configuration, or show the effective one."""


@config.command(
    short_help="Validate a configuration.",
    epilog=examples("indexer config check /srv/media/indexer.toml", "indexer config check --json new.toml"),
)
@click.argument("file", required=False, type=PATH)
@common_options
def check(cli: Cli, file: Path | None) -> int:
    """Validate FILE (default: the store's own) and say all that is wrong with it. Exit 2 when something is."""
    from indexer.config import load_config

    chosen = file or cli.config or _own_file(cli)
    errors: Iterable[dict[str, str]] = ()
    loaded = None
    try:
        loaded = load_config(chosen, environ={})
    except ConfigError as error:
        errors = error.problems
    except IndexerError as error:
        errors = [{"file": show_text(str(chosen)), "key": "", "message": error.message, "remedy": error.remedy}]
    except OSError as error:
        raise UsageError(f"{chosen}: {error.strerror}", remedy="name a configuration that you may read") from error
    if cli.out.json:
        warnings = list(loaded.warnings) if loaded else []
        cli.out.document({"file": show_text(str(chosen)), "errors": list(errors), "warnings": warnings})
    else:
        _show_check(cli, chosen, loaded, errors)
    return EXIT_USAGE if loaded is None else EXIT_DONE


def _show_check(cli: Cli, file: Path, loaded: Config | None, errors: Iterable[dict[str, str]]) -> None:
    for error in errors:
        where = ": ".join(part for part in (error["file"], error["key"]) if part)
        cli.out.text(f"{where}: {error['message']}", style="red")
        cli.out.text(f"    {error['remedy']}")
    if loaded is not None:
        for warning in loaded.warnings:
            cli.out.text(f"warning: {warning}", style="yellow")
        count = len(loaded.classes)
        cli.out.text(f"{file}: valid, {count} class{'' if count == 1 else 'es'}, mode {loaded.store.mode}")


def _own_file(cli: Cli) -> Path:
    from indexer.store import locate_store
    from indexer.store.open import find_config

    root = locate_store(None, cli.store)
    found = find_config(root, config_path=None, environ=os.environ)
    if found is None:
        raise NoStoreError(
            f"{root} has no configuration", remedy=f"indexer init {root} writes one; or name a file to check"
        )
    return found


@config.command(
    short_help="Every effective value, and its source.",
    epilog=examples("indexer config show", "INDEXER_STORE_MODE=enforce indexer config show -C /srv/media"),
)
@common_options
def show(cli: Cli) -> None:
    """Show every effective value and where it comes from: a flag, the environment, the file, or the default."""
    from indexer.config.show import document, shown

    effective = _effective(cli)
    if cli.out.json:
        cli.out.document(
            {
                "store": show_text(str(effective.store.path)),
                "file": _text_of(effective.path),
                "config": document(effective),
                "sources": dict(effective.sources),
                "fingerprint": effective.fingerprint,
            }
        )
    else:
        cli.out.table(("key", "value", "source"), shown(effective))


def _effective(cli: Cli) -> Config:
    """Return the configuration of the store; also of one that was configured and not yet initialised."""
    from indexer.store import locate_store, open_store
    from indexer.store.open import read_store_config

    root = locate_store(None, cli.store, config_path=cli.config)
    try:
        return open_store(root, config_path=cli.config, verify=False).config
    except NoStoreError:
        return read_store_config(root, config_path=cli.config)


def _text_of(path: Path | None) -> str | None:
    return None if path is None else show_text(str(path))
