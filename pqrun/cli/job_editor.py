# SPDX-License-Identifier: LGPL-3.0-or-later
"""A job of a live run as a small YAML file, and back: the text for `edit`, and the editor around it."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from typing import Any, Final

from pqrun.cli.commands.live_run import note
from pqrun.control.client import ControlClient
from pqrun.core import field_types as types
from pqrun.core.errors import Rejected, UserError
from pqrun.core.job_fields import JOB_FIELDS, FieldSpec, fields_with_option
from pqrun.core.text import escape_controls
from pqrun.input.defaults import start_time
from pqrun.input.jobfile.fields import FieldReader
from pqrun.input.jobfile.problems import JobFileError, Problems
from pqrun.input.jobfile.source_text import SourceText
from pqrun.input.jobfile.yaml_tree import YamlTree

DEFAULT_EDITOR = "vi"
_NEEDED: Final = types.NEEDS._replace(name="needed", parse=types.needed)


def _known() -> dict[str, FieldSpec]:
    """Return the keys of the file: the command, and the fields that `set` can change, each as one word."""
    run = next(field for field in JOB_FIELDS if field.name == "run")
    found = {field.flat_name: field for field, _ in fields_with_option("set")}
    words = {
        name: field._replace(name=name, stored=name, type=_NEEDED if field.name == "needs" else field.type)
        for name, field in found.items()
    }
    return {"run": run, **words}


def text_of(job: str, facts: dict[str, Any]) -> str:
    """Return the file: the fields that are set, and the others as comments with an example each."""
    import yaml

    lines = [
        f"# Job {escape_controls(job)}. What you remove gets its default. Close without a change to keep the job."
    ]
    for name, field in _known().items():
        value = _written(name, facts[name])
        if value is None:
            default = f" (default: {field.default})" if field.default else ""
            lines.append(f"# {name}: {field.example.strip('[]')}{default}")
        else:
            entry = yaml.safe_dump(
                {name: value}, allow_unicode=True, width=10**6, default_style=_style(value)
            )
            lines.append(entry.removesuffix("\n").replace(f'"{name}":', f"{name}:", 1))
    return "\n".join(lines) + "\n"


def _style(value: Any) -> str | None:
    """Return the style of YAML for a value: a text of several lines keeps its lines."""
    return "|" if isinstance(value, str) and "\n" in value and value == value.strip() else None


def _written(name: str, value: Any) -> Any:
    """Return a value as the file has it; None if it is the default."""
    if name == "needs":
        return ", ".join(job if when == "ok" else f"{when}:{job}" for job, when in value) or None
    if name == "not_before":
        return None if value is None else f"@{value:.0f}"
    if name == "retries":
        return value or None
    return value


def facts_from(name: str, data: bytes) -> dict[str, Any]:
    """Return the fields that the file sets. Raises `JobFileError` with every problem and its place."""
    problems = Problems()
    source = SourceText(name, data)
    found: dict[str, Any] = {}
    if source.is_sound(problems):
        reader = FieldReader(source, problems)
        top = YamlTree(source, problems, lambda *_: None).read()
        if top is not None and not isinstance(top.value, dict):
            reader.report(top, f"expected a map of fields, found {top.what}", "write `run: COMMAND`")
        elif top is not None:
            found = reader.layer(top, _known())
            if "run" not in top.value:
                reader.report(top, "no command", "write `run: COMMAND`")
    if problems.any:
        raise problems.error({0: source})
    return found


def _for_request(found: dict[str, Any], was: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as the verb takes them. What the file leaves out has its default."""
    defaults = {"priority": "normal", "needs": [], "retries": 0, "grace": 5.0}
    wanted = {name: found.get(name, defaults.get(name)) for name in was}
    if "priority" in found:
        wanted["priority"] = found["priority"].name.lower()
    if "needs" in found:
        wanted["needs"] = [list(need) for need in found["needs"]]
    if "not_before" in found:
        wanted["not_before"] = start_time(found["not_before"]) or None
        if was["not_before"] is not None and found["not_before"] == f"@{was['not_before']:.0f}":
            wanted["not_before"] = was["not_before"]  # the file has whole seconds
    for name in ("timeout", "idle_timeout"):
        wanted[name] = wanted[name] or None
    if isinstance(wanted["run"], tuple):
        wanted["run"] = list(wanted["run"])
    return wanted


def edit_job(client: ControlClient, job: str) -> int:
    """Let the user edit a job until the text is right; return the exit code.

    After a mistake, a user at a terminal may go on in the editor. Otherwise the mistake is an error, and the text stays
    in its file.
    """
    was = client.request("edit", id=job)["job"]
    text = text_of(job, was)
    directory = tempfile.mkdtemp(prefix="pqrun-edit-")
    path = os.path.join(directory, "job.yaml")
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        _edit_until_right(client, job, was, path, text)
    except BaseException:
        if _content(path) not in (b"", text.encode()):
            note(f"nothing changed; your text is in {escape_controls(path)}")
        else:
            _remove(path)
        raise
    _remove(path)
    return 0


def _edit_until_right(client: ControlClient, job: str, was: dict[str, Any], path: str, text: str) -> None:
    """Call the editor until the run takes the file, which begins as `text`. Raises the last mistake."""
    while True:
        _call_editor(path)
        data = _content(path)
        if not data.strip() or data == text.encode():
            note("nothing changed")
            return
        try:
            wanted = _for_request(facts_from(path, data), was)
            client.request("edit", id=job, was=was, job=wanted)
            return
        except (UserError, Rejected) as error:
            if not _goes_on(error):
                raise


def _content(path: str) -> bytes:
    """Return what is in the file; nothing if the editor has removed it."""
    try:
        with open(path, "rb") as written:
            return written.read()
    except FileNotFoundError:
        return b""


def _remove(path: str) -> None:
    """Remove the file and its directory, unless the editor has left something else in it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(path))


def _call_editor(path: str) -> None:
    """Wait for the editor. Raises `UserError` if it can't be started or fails."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or DEFAULT_EDITOR
    try:
        code = subprocess.call([*shlex.split(command), path])
    except (OSError, ValueError) as error:
        raise UserError(f"can't start the editor `{command}`: {error}; set $EDITOR to another one") from None
    if code:
        raise UserError(f"the editor `{command}` failed (exit {code}): nothing changed")


def _goes_on(error: UserError | Rejected) -> bool:
    """Show the mistake to a user at a terminal, and ask whether to edit again."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    text = str(error) if isinstance(error, JobFileError) else f"pqrun: {error}"
    sys.stderr.write(f"{text}\nEdit again? [Y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")
