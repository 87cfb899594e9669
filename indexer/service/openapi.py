"""The OpenAPI document of what HTTP answers."""

from __future__ import annotations

from typing import Any

from indexer._version import __version__

_NUMBER = {"type": "integer", "minimum": 0}
_TIME = {"type": ["integer", "null"]}
_CODES = {"type": "array", "items": {"type": "string"}}
_HEALTHY = {
    "type": "object",
    "required": ["status", "state", "pending", "lag_seconds"],
    "properties": {
        "status": {"const": "ok"},
        "state": {"enum": ["clean", "reconciling"]},
        "pending": _NUMBER,
        "lag_seconds": {"type": "number", "minimum": 0},
    },
    "additionalProperties": False,
}
_UNHEALTHY = {
    "type": "object",
    "required": ["status", "reasons"],
    "properties": {"status": {"const": "unhealthy"}, "reasons": {**_CODES, "minItems": 1}},
    "additionalProperties": False,
}
_STATUS = {
    "type": "object",
    "required": ["store", "state", "reasons", "backend", "files", "directories", "bytes", "allocated", "jobs"],
    "properties": {
        "state": {"enum": ["clean", "reconciling", "degraded", "stopped"]},
        "reasons": _CODES,
        **dict.fromkeys(
            ("files", "directories", "bytes", "allocated", "trash_bytes", "pending", "due_files", "due_bytes"), _NUMBER
        ),
        "last_event": _TIME,
        "last_reconcile": _TIME,
        "jobs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    },
}
_USAGE = {
    "type": "object",
    "required": ["rows"],
    "properties": {
        "rows": {
            "type": "array",
            "items": {"type": "object", "required": ["class", "files", "bytes", "allocated"]},
        }
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["code", "message", "remedy"]}},
}


def document(prefix: str = "") -> dict[str, Any]:
    """Return the document; `prefix` stands before each path."""
    refused = {
        "401": {"description": "the token is missing or wrong", "content": {"text/plain": {}}},
        "421": {"description": "this Host is not answered", "content": {"text/plain": {}}},
        "500": _json("the index or the ledger cannot be read", _ERROR),
        "503": _json("there is no complete index yet", _ERROR),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "indexer", "version": __version__, "description": "Read only."},
        "paths": {
            f"{prefix}/health": {
                "get": {
                    "operationId": "health",
                    "responses": {"200": _json("healthy", _HEALTHY), "503": _json("not healthy", _UNHEALTHY)},
                }
            },
            f"{prefix}/metrics": {
                "get": {
                    "operationId": "metrics",
                    "responses": {
                        "200": {"description": "the Prometheus text", "content": {"text/plain": {}}},
                        **refused,
                    },
                }
            },
            f"{prefix}/api/status": {
                "get": {"operationId": "status", "responses": {"200": _json("as `status --json`", _STATUS), **refused}}
            },
            f"{prefix}/api/usage": {
                "get": {"operationId": "usage", "responses": {"200": _json("as `report usage`", _USAGE), **refused}}
            },
        },
    }


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
