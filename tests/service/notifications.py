"""Documents of `[notify]`, held against the schema that the reference publishes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs

from tests.program import REPOSITORY


@cache
def _validator() -> Any:
    path = REPOSITORY / "docs" / "reference" / "notification.schema.json"
    return jsonschema_rs.validator_for(json.loads(path.read_text()))


def valid(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that is as the published schema says; anything else is a failure that says where."""
    _validator().validate(document)
    return document
