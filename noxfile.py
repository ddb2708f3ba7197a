# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sessions for developers: `nox -l` lists them, `nox` runs lint, types and quick, `nox -s NAME` runs one.

Each session has an environment of its own, so what your `.venv` contains makes no difference. Arguments after `--`
go to the program that the session runs: `nox -s tests -- tests/unit/core -k retry`.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "quick"]
nox.options.reuse_existing_virtualenvs = True

QUICK = "not slow and not cluster and not browser"
GENERATORS = (
    "cli", "manpage", "completions", "jobfile_page", "from_gnu_parallel", "live_svg", "run_svg", "top_svg", "page_pictures",
)  # fmt: skip


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole suite but for the exhaustive tests and those in a browser."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that need no cluster and no browser."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-m", QUICK, *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Run the tests in a browser, which need Chromium."""
    session.install("-e", ".[test]", "playwright")
    session.run("python", "-m", "pytest", "-n", "0", "-m", "browser", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; `nox -s lint -- --fix` mends what ruff can mend."""
    session.install(".[lint]")
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", *(() if "--fix" in session.posargs else ("--check",)), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package."""
    session.install(".[lint]")
    session.run("mypy", "--strict", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Generate the reference pages, the completions and the pictures anew, then test all pages."""
    session.install("-e", ".[test]", "playwright")
    for name in GENERATORS:
        session.run("python", f"docs/{name}.py")
    session.run("python", "-m", "pytest", "tests/docs", *session.posargs)


@nox.session(venv_backend="none")
def versions(session: nox.Session) -> None:
    """Run tests with each Python found here, with the newest and with the lowest dependencies."""
    session.run(".ci/versions", *session.posargs, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure pqrun against other tools; `nox -s bench -- --only NAME` measures one figure."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks", *session.posargs)
