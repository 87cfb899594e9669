"""Configurations of small stores that are acted on, each told by what is particular about it."""

from __future__ import annotations

from typing import Any

import tomlkit

Keys = dict[str, Any]


def enforced(*classes: Keys, guards: Keys | None = None, **tables: Keys) -> str:
    """Return the text of a configuration with these classes; no guard on shares unless `guards` says otherwise."""
    return tomlkit.dumps(
        {
            "store": {"mode": "enforce"},
            "guards": {"max_fraction": 1} if guards is None else guards,
            **tables,
            "class": list(classes),
        }
    )


def aged(name: str, **keys: Any) -> Keys:
    """Return a class of all that is in the directory `name`: by its times, however young, for 30 days.

    `keys` say what is else, or otherwise; a key that is None is left out.
    """
    usual = {"match": [f"{name}/**"], "ttl": "30d", "arrival_floor": False, "min_age": "0s"}
    return {"name": name, **{key: value for key, value in {**usual, **keys}.items() if value is not None}}


def kept(name: str, **keys: Any) -> Keys:
    """Return a class of all that is in the directory `name`, kept forever."""
    return {"name": name, "match": [f"{name}/**"], **keys}
