# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all tests share: options, a place of their own, and waiting for facts instead of time."""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from support.process import until

# One profile for all: on a busy machine, how long an example takes or takes to be made says nothing about the
# code. What hangs is ended by the time limit of its test.
settings.register_profile("pqrun", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pqrun")


MAX_WORKERS = 4
TEST_TIMEOUT_SECONDS = 120


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at its own options
def pytest_cmdline_main(config):
    """Run files side by side and end tests that hang, where the plugins for that are installed.

    What the command line, the environment or an ini option says wins; without the plugins all tests run one
    after the other, without a limit.
    """
    options = config.option
    is_worker = hasattr(config, "workerinput")
    if hasattr(options, "numprocesses") and not is_worker and not options.tx and options.dist == "no":
        if options.numprocesses is None and not options.distload:
            options.numprocesses = "auto"
            options.maxprocesses = options.maxprocesses or MAX_WORKERS
        if options.numprocesses and not options.distload:
            options.dist = "loadfile"  # fixtures of a session or a module are made once
    if hasattr(options, "timeout") and options.timeout is None:
        said = os.environ.get("PYTEST_TIMEOUT") or config.getini("timeout")
        options.timeout = None if said else float(TEST_TIMEOUT_SECONDS)


def pytest_configure(config):
    """Whoever starts the tests may ignore signals (nohup does); pqrun would then do so too, as it should."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(config, items):
    """Deselect tests marked `exhaustive`, unless `-m` names that marker: `-m slow` does not mean them."""
    if "exhaustive" in config.option.markexpr:
        return
    exhaustive = [item for item in items if item.get_closest_marker("exhaustive")]
    if exhaustive:
        config.hook.pytest_deselected(items=exhaustive)
        items[:] = [item for item in items if item not in exhaustive]


def pytest_collection_finish():
    """What the collection has made stays: a `gc.collect()` of a test need not look at it, which takes a while."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch, tmp_path_factory):
    """No variable of a pqrun around the tests, no run in the user's state directory."""
    for name in list(os.environ):
        if name.startswith(("PQRUN", "PARALLEL_")):
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "CI", "GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PQRUN_STATE_DIR", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(name="until")
def until_fixture():
    """`until(fact)` waits until `fact()` is true and gives what it was."""
    return until
