# SPDX-License-Identifier: LGPL-3.0-or-later
"""JSON that every reader accepts: valid Unicode, with the original bytes beside a text that had none."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from pqrun.core.job import UNKNOWN_SIZE, JobSpec, block_of
from pqrun.core.text import arguments_by_name, has_no_surrogates, original_bytes, replace_surrogates

BYTES = "_bytes"


def as_json(value: Any, **layout: Any) -> str:
    """Return the value as JSON in ASCII. Bytes that are not text are replaced by U+FFFD."""
    text = json.dumps(value, ensure_ascii=True, **layout)
    return json.dumps(_replaced(value), ensure_ascii=True, **layout) if "\\ud" in text else text


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {_replaced(key): _replaced(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(one) for one in value]
    return value


def bytes_beside(name: str, value: Any) -> dict[str, Any]:
    """Return `{NAME_bytes: BASE64}` for a text, or texts in a list or an object, that `as_json` can't show exactly.

    Return an empty dictionary for any other value.
    """
    if isinstance(value, str):
        return {} if has_no_surrogates(value) else {name + BYTES: _base64(value)}
    if isinstance(value, list | tuple) and not all(map(has_no_surrogates, value)):
        return {name + BYTES: [_base64(one) for one in value]}
    if isinstance(value, dict) and not all(map(has_no_surrogates, value.values())):
        return {name + BYTES: {key: _base64(one) for key, one in value.items()}}
    return {}


def _base64(text: str) -> str:
    return b64encode(original_bytes(text)).decode()


def argument_facts(spec: JobSpec) -> dict[str, Any]:
    """Return the members `args`, `args_bytes` and `block` of a job in JSON, those that the job has."""
    facts: dict[str, Any] = {}
    if spec.args:
        facts["args"] = args = arguments_by_name(spec)
        facts.update(bytes_beside("args", args))
    if (block := block_of(spec)) is not None:
        size = None if block.size == UNKNOWN_SIZE else block.size
        facts["block"] = {"number": block.number, "offset": block.offset, "bytes": size}
    return facts
