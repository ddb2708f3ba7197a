# SPDX-License-Identifier: LGPL-3.0-or-later
"""The events of a YAML or JSON text: libyaml's, or where that is missing, those of PyYAML itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from pqrun.jobfile.text import Text

try:
    from yaml import _yaml
except ImportError:  # built without libyaml: slower, nothing else
    _yaml = None  # type: ignore[assignment]


def events(file: Text) -> Iterator[Any]:
    """One after another; raises yaml.YAMLError where the text can't be read."""
    data = file.readable()
    if _yaml is None:
        if file.is_json:  # libyaml takes tabs between JSON's tokens, this parser does not
            data = re.sub(rb"(?m)^[\t ]+", lambda found: b" " * len(found.group()), data)
        return _checked(yaml.parse(data, yaml.Loader))
    return iter(_yaml.CParser(data).get_event, None)


def _checked(found: Iterator[Any]) -> Iterator[Any]:
    """The same without halves of surrogate pairs, which libyaml does not let pass either."""
    for event in found:
        value = getattr(event, "value", "")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            message = "found invalid Unicode character escape code"
            raise yaml.scanner.ScannerError(None, None, message, event.start_mark)
        yield event
