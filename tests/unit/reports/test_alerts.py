# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each alert of the example fires when it should and at no other time, by Prometheus's own test of rules."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ALERTS = Path(__file__).parents[3] / "examples" / "alerts.yml"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
HOURS = 28 * 60
RUNNING = {
    'pqrun_queue_size{priority="normal"}': "3x180",
    'pqrun_queue_size{priority="low"}': "0x180",
    "pqrun_workers_active": "0x180",
    "pqrun_run_start_timestamp_seconds": "0x180",
}
WAITS = {
    'pqrun_job_wait_seconds_bucket{priority="critical",le="60"}': "0x180",
    'pqrun_job_wait_seconds_bucket{priority="critical",le="600"}': "0+60x180",
    'pqrun_job_wait_seconds_bucket{priority="critical",le="+Inf"}': "0+60x180",
}
RETRIES = {
    'pqrun_attempts_ended_total{priority="normal",outcome="retried"}': "0+30x180",
    'pqrun_attempts_ended_total{priority="normal",outcome="completed"}': "0+60x180",
}
# By alert: series of a machine on which it fires, series of machines on which it does not, and the minute.
CASES = {
    "PqrunNoSuccess": (
        {"pqrun_run_last_success_timestamp_seconds": f"0x{HOURS}"},
        [{"pqrun_run_last_success_timestamp_seconds": f"{25 * 3600}x{HOURS}"}],
        HOURS,
    ),
    "PqrunFailed": ({"pqrun_run_exit_code": "1x180"}, [{"pqrun_run_exit_code": "0x180"}], 60),
    "PqrunQueueStuck": (
        RUNNING,
        [
            {**RUNNING, "pqrun_workers_active": "1x180"},
            {**RUNNING, 'pqrun_queue_size{priority="normal"}': "0x180"},
            {**RUNNING, "pqrun_run_start_timestamp_seconds": "3500x180"},
            {**RUNNING, "pqrun_run_end_timestamp_seconds": "60x180"},
        ],
        60,
    ),
    "PqrunWaitsLong": (
        WAITS,
        [{**WAITS, 'pqrun_job_wait_seconds_bucket{priority="critical",le="60"}': "0+60x180"}],
        60,
    ),
    "PqrunRetries": (
        RETRIES,
        [{**RETRIES, 'pqrun_attempts_ended_total{priority="normal",outcome="retried"}': "0+5x180"}],
        120,
    ),
}


def labelled(series: str, instance: str) -> str:
    """With the labels that Prometheus gives to what it collects."""
    name, brace, labels = series.partition("{")
    own = f'instance="{instance}",job="node"'
    return f"{name}{{{own},{labels}" if brace else f"{name}{{{own}}}"


def test_each_alert_has_a_test():
    assert CASES.keys() == RULES.keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Prometheus) is not installed")
@pytest.mark.parametrize("alert", RULES)
def test_an_alert_fires_for_the_machine_that_it_is_about_and_for_no_other(alert, tmp_path):
    fires, quiet, minute = CASES[alert]
    machines = {"bad:9100": fires, **{f"good{n}:9100": series for n, series in enumerate(quiet)}}
    rule = RULES[alert]
    labels = {**rule["labels"], "instance": "bad:9100", "job": "node"}
    summary = rule["annotations"]["summary"].replace("{{ $value }}", "1")
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": labelled(name, instance), "values": values}
                    for instance, series in machines.items()
                    for name, values in series.items()
                ],
                "alert_rule_test": [
                    {
                        "eval_time": f"{minute}m",
                        "alertname": alert,
                        "exp_alerts": [{"exp_labels": labels, "exp_annotations": {"summary": summary}}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(test), encoding="utf-8")  # which is YAML too
    done = subprocess.run(
        ["promtool", "test", "rules", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
