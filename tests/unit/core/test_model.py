# SPDX-License-Identifier: LGPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.job import (
    Command,
    ExitClass,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    RetryPolicy,
    SelfReport,
    StopReason,
    classify_exit,
    format_command,
)


def spec(**facts):
    policy = {name: facts.pop(name) for name in ("on", "permanent") if name in facts}
    sets = {name: frozenset(value) for name, value in policy.items()}
    return JobSpec("a", None, retry=RetryPolicy(max=1, **sets), **facts)


@pytest.mark.parametrize(
    "exit", [ExitedWith(0), ExitedWith(3), KilledBySignal("SIGTERM"), KilledBySignal("SIGKILL")]
)
@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (StopReason.TIMEOUT, Outcome.TIMEOUT),
        (StopReason.IDLE, Outcome.TIMEOUT),
        (StopReason.CANCELLED, Outcome.CANCELLED),
        (StopReason.INTERRUPTED, Outcome.INTERRUPTED),
    ],
)
def test_a_job_that_we_asked_to_stop_ends_for_our_reason_whatever_its_code(asked, outcome, exit):
    assert classify_exit(spec(), exit, asked).outcome is outcome


@pytest.mark.parametrize("asked", [StopReason.CANCELLED, StopReason.INTERRUPTED])
def test_what_was_cancelled_or_interrupted_is_never_retried(asked):
    assert not classify_exit(spec(on={"any", "signal"}), KilledBySignal("SIGTERM"), asked).retryable


def test_a_term_that_we_did_not_send_is_a_failure_by_signal():
    assert classify_exit(spec(), KilledBySignal("SIGTERM"), None) == ExitClass(Outcome.FAILED, True)


def test_success_codes_decide_what_is_ok():
    job = spec(success_codes=(0, 5))
    assert [classify_exit(job, ExitedWith(code), None).outcome for code in (0, 5, 1)] == [
        "ok",
        "ok",
        "failed",
    ]
    assert classify_exit(spec(success_codes=(3,)), ExitedWith(0), None).outcome is Outcome.FAILED


RETRYABLE = [
    ({}, ExitedWith(1), True),
    ({}, ExitedWith(75), True),
    ({}, ExitedWith(126), False),
    ({}, ExitedWith(127), False),
    ({}, NotStarted(127, "no such program"), False),
    ({}, KilledBySignal("SIGSEGV"), True),
    ({}, LostExit("the host is gone"), True),
    ({"on": {5}}, ExitedWith(5), True),
    ({"on": {5}}, ExitedWith(6), False),
    ({"on": {5}}, ExitedWith(75), True),
    ({"on": {127}}, ExitedWith(127), True),
    ({"on": {5}}, KilledBySignal("SIGSEGV"), False),
    ({"on": {"signal"}}, KilledBySignal("SIGSEGV"), True),
    ({"on": {"SIGSEGV"}}, KilledBySignal("SIGSEGV"), True),
    ({"on": {"SIGBUS"}}, KilledBySignal("SIGSEGV"), False),
    ({"on": {"timeout"}}, ExitedWith(1), False),
    ({"permanent": {22}}, ExitedWith(22), False),
    ({"permanent": {22}, "on": {22}}, ExitedWith(22), False),
    ({"permanent": {75}}, ExitedWith(75), False),
    ({"permanent": {"signal"}}, KilledBySignal("SIGSEGV"), False),
]


@pytest.mark.parametrize(("policy", "exit", "expected"), RETRYABLE)
def test_what_may_be_tried_again(policy, exit, expected):
    assert classify_exit(spec(**policy), exit, None).retryable is expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [({}, True), ({"on": {"timeout"}}, True), ({"on": {5}}, False), ({"permanent": {"timeout"}}, False)],
)
def test_a_time_limit_that_was_hit_may_be_tried_again_if_the_policy_has_it(policy, expected):
    assert classify_exit(spec(**policy), KilledBySignal("SIGTERM"), StopReason.TIMEOUT).retryable is expected


def test_a_job_that_calls_its_failure_permanent_is_believed():
    assert not classify_exit(spec(on={"any", 1}), ExitedWith(1), None, SelfReport(permanent=True)).retryable


policies = some.builds(
    RetryPolicy,
    delay=some.floats(0, 1e6),
    backoff=some.sampled_from(["exponential", "linear", "constant"]),
    factor=some.floats(0, 1000),
    max_delay=some.floats(0, 1e6),
    jitter=some.floats(0, 1),
)


@pytest.mark.slow
@given(policies, some.integers(1, 1_000_000), some.floats(0, 1, exclude_max=True))
def test_no_policy_waits_less_than_nothing_or_longer_than_its_cap_and_jitter(policy, retry, chance):
    wait = policy.wait_before(retry, chance)
    assert 0 <= wait <= policy.max_delay * (1 + policy.jitter)


@given(policies, some.integers(1, 1000))
def test_the_middle_of_the_jitter_is_the_formula(policy, retry):
    formula = {
        "exponential": lambda: policy.delay * policy.factor ** (retry - 1),
        "linear": lambda: policy.delay * retry,
        "constant": lambda: policy.delay,
    }[policy.backoff]
    try:
        expected = min(formula(), policy.max_delay)
    except OverflowError:
        expected = policy.max_delay if policy.delay else 0.0
    assert policy.wait_before(retry, 0.5) == pytest.approx(expected)


def test_a_command_is_shown_as_a_person_would_type_it():
    assert format_command(Command("echo 'a b' | wc")) == "echo 'a b' | wc"
    assert format_command(Command(("grep", "-c", "a b", "it's"))) == "grep -c 'a b' 'it'\"'\"'s'"
