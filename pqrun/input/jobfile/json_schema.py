# SPDX-License-Identifier: LGPL-3.0-or-later
"""The JSON Schema of the job file, made from the tables in `pqrun.core.job_fields`.

The schema uses only the part of draft-07 on which editors agree. No library of models is used, because such a
library takes longer to load than a run takes to start. The reader of job files does not need such a library
either: its own messages name the line and the cure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pqrun.core.field_types import FieldType
from pqrun.core.job_fields import (
    HOOK_FIELDS,
    JOB_FIELDS,
    LOOP_FIELDS,
    RETRY_FIELDS,
    TOP_LEVEL_FIELDS,
    FieldSpec,
)
from pqrun.core.values import MAX_RETRIES, MAX_SLOTS

Shape = dict[str, Any]

_TEXT: Final[Shape] = {"type": "string", "minLength": 1}
_SCALAR: Final[Shape] = {"type": ["string", "number", "boolean"]}
_SCALARS: Final[Shape] = {"type": "array", "items": _SCALAR}
_VARIABLES: Final[Shape] = {
    "type": "object",
    "propertyNames": {"pattern": "^[^=]+$"},
    "additionalProperties": _SCALAR,
}


def _one_or_many(item: Shape, least: int = 0) -> Shape:
    return {"anyOf": [item, {"type": "array", "items": item, **({"minItems": least} if least else {})}]}


def _whole(least: int, most: int) -> Shape:
    return {"type": "integer", "minimum": least, "maximum": most}


def _ref(name: str) -> Shape:
    return {"$ref": f"#/definitions/{name}"}


_DURATION: Final[Shape] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^((\d+\.?\d*|\.\d+)(ms|s|m|h|d))+$|^(\d+\.?\d*|\.\d+)$"},
    ]
}
_EXIT_CODE: Final[Shape] = _whole(0, 255)
_CODE: Final[Shape] = {"anyOf": [_EXIT_CODE, {"type": "string", "pattern": "^[A-Za-z0-9+-]+$"}]}
_COUNTS: Final[Shape] = {"type": "object", "additionalProperties": _whole(1, MAX_SLOTS)}
_NEEDS: Final[Shape] = _one_or_many(_SCALAR)
_COMBINATIONS: Final[Shape] = _one_or_many(_VARIABLES)

_SHAPES: Final[dict[str, Shape]] = {
    "id": {"type": ["string", "number"], "minLength": 1, "maxLength": 200},
    "run": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]},
    "env": _VARIABLES,
    "path": _TEXT,
    "priority": {"enum": ["critical", "high", "normal", "low"]},
    "needs": {
        "anyOf": [
            *_NEEDS["anyOf"],
            {
                "type": "object",
                "properties": {"ok": _NEEDS, "ended": _NEEDS, "failed": _NEEDS},
                "additionalProperties": False,
            },
        ]
    },
    "matrix": {
        "type": "object",
        "properties": {"include": _COMBINATIONS, "exclude": _COMBINATIONS},
        "additionalProperties": _one_or_many(_SCALAR, 1),
        "minProperties": 1,
    },
    "rate": {"anyOf": [_whole(1, MAX_SLOTS), {"type": "string", "pattern": r"^\d+(/.+)?$"}]},
    "load": {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^(\d+\.?\d*|\.\d+)%?$"}]
    },
    "size": {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": r"^[\d.]+ ?[kKMGT]?(iB|B)?$"},
        ]
    },
    "halt": {"type": "string", "pattern": r"^(now|soon),(fail|success|done)=\d+%?$"},
    "loop": _ref("loop"),
    "values": _one_or_many(_SCALAR, 1),
    "variable": {"type": "string", "pattern": "^[^=]+$"},
    "duration": _DURATION,
    "time": _TEXT,
    "signal": {"type": ["string", "integer"]},
    "policy": {"anyOf": [_whole(0, MAX_RETRIES), _ref("retries")]},
    "wants": {"anyOf": [*_one_or_many(_TEXT)["anyOf"], _COUNTS]},
    "tags": _one_or_many(_SCALAR),
    "exits": _one_or_many(_EXIT_CODE, 1),
    "codes": _one_or_many(_CODE),
    "truth": {"type": "boolean"},
    "shell": _one_or_many(_TEXT, 1),
    "workers": {"anyOf": [_whole(1, 999_999), {"type": "string", "pattern": r"^(auto|[+-]?\d+|\d+%)$"}]},
    "defaults": _ref("defaults"),
    "hooks": _ref("hooks"),
    "pools": {
        "type": "object",
        "additionalProperties": {"anyOf": [_whole(1, MAX_SLOTS), {**_SCALARS, "minItems": 1}]},
    },
    "jobs": {
        "anyOf": [
            {"type": "array", "items": {"anyOf": [_SCALAR, _ref("job")]}, "minItems": 1},
            {"type": "object", "additionalProperties": {"anyOf": [_SCALAR, _ref("job")]}, "minProperties": 1},
        ]
    },
}


def _shape(type: FieldType) -> Shape:
    """Return the shape of a type's values."""
    if type.words:
        return {"enum": list(type.words)}
    least, most = type.bounds
    return _SHAPES.get(type.name) or {"type": type.name, "minimum": least, "maximum": most}


def schema() -> dict[str, Any]:
    """Return the schema as a document."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "pqrun job file",
        "description": "Jobs for `pqrun run`: their commands, order, time limits and retries.",
        "type": "object",
        "properties": _properties(TOP_LEVEL_FIELDS),
        "patternProperties": {"^x-": {"description": "Ignored by pqrun; you can put anchors here."}},
        "additionalProperties": False,
        "required": ["jobs"],
        "definitions": {
            "job": _map("A job.", JOB_FIELDS),
            "defaults": _map("Values for all jobs that set no other value.", JOB_FIELDS[1:]),
            "hooks": _map("Commands that run when the run has ended.", HOOK_FIELDS),
            "loop": _map("The values for which the job runs, each in a variable.", LOOP_FIELDS),
            "retries": _map("Which failures are retried, how often, and when.", RETRY_FIELDS),
        },
    }


def _map(description: str, keys: Iterable[FieldSpec]) -> Shape:
    return {
        "description": description,
        "type": "object",
        "properties": _properties(keys),
        "additionalProperties": False,
    }


def _properties(keys: Iterable[FieldSpec]) -> Shape:
    found: Shape = {}
    for key in keys:
        default = f" Default: `{key.default}`." if key.default else ""
        found[key.name] = {"description": key.about + default, **_shape(key.type)}
        for other in key.also:
            found[other] = {
                "description": f"Another spelling of `{key.name}`. {key.about}",
                **_shape(key.type),
            }
    return found
