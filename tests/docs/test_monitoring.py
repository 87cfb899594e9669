"""The Grafana dashboard and the alert rules: Prometheus accepts them, and every metric in them is one of ours."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from indexer.manager import StorageManager
from tests.capabilities import needs
from tests.program import REPOSITORY
from tests.service.scheduled import scheduled

MONITORING = REPOSITORY / "docs" / "monitoring"
RULES = MONITORING / "alerts.yml"
METRIC = re.compile(r"\bindexer_[a-z_]+")

FIRING = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'indexer_up{{instance="a"}}'
        values: '1x10 0x30'
      - series: 'indexer_degraded{{instance="a",reason="canary_failed"}}'
        values: '0x10 1x30'
      - series: 'indexer_degraded{{instance="a",reason="guard_refused"}}'
        values: '0x40'
      - series: 'indexer_quota_used_ratio{{instance="a",class="uploads"}}'
        values: '0.5x40'
      - series: 'indexer_disk_used_ratio{{instance="a",filesystem="0"}}'
        values: '0.5x40'
    alert_rule_test:
      - eval_time: 5m
        alertname: IndexerDown
      - eval_time: 5m
        alertname: IndexerDegraded
      - eval_time: 30m
        alertname: IndexerDown
        exp_alerts:
          - exp_labels: {{ severity: page, instance: a }}
            exp_annotations:
              summary: "No service runs: nothing is observed, and only the cron fallback removes anything."
      - eval_time: 30m
        alertname: IndexerDegraded
        exp_alerts:
          - exp_labels: {{ severity: page, instance: a, reason: canary_failed }}
            exp_annotations: {{ summary: "The store is degraded: canary_failed." }}
      - eval_time: 40m
        alertname: IndexerQuota
      - eval_time: 40m
        alertname: IndexerDiskFull
      - eval_time: 40m
        alertname: IndexerRefused
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of all metrics of a store that has a quota, a schedule and a run."""
    root = tmp_path_factory.mktemp("monitoring") / "store"
    store = scheduled(root, 'cleanup = "every day at 02:00"')
    assert store.config.path is not None
    with store.config.path.open("a", encoding="utf-8") as file:
        file.write('[[class]]\nname = "kept"\nmatch = ["kept/**"]\nquota = "1GiB"\n')
    manager = StorageManager(root)
    manager.scan()
    manager.run_cleanup()
    text = manager.metrics().decode()
    assert 'indexer_quota_used_ratio{class="kept"} 0.0' in text
    # Its help is there for a metric without samples too: a job's next time without a service.
    return {name for name, _ in re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE)}


def test_every_metric_of_the_dashboard_is_one_of_ours(ours: set[str]) -> None:
    """A renamed metric would leave an empty panel behind."""
    dashboard = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 15
    used = {metric for expression in expressions for metric in METRIC.findall(expression)}
    assert used <= ours, used - ours
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_metric_of_the_rules_is_one_of_ours(ours: set[str]) -> None:
    """A rule on a metric that nobody exports never fires."""
    used = set(METRIC.findall(RULES.read_text(encoding="utf-8")))
    assert used <= ours, used - ours


@needs("promtool")
def test_prometheus_accepts_the_rules() -> None:
    """`promtool check rules` has nothing to say."""
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    """A dead service and a failing canary page within minutes; a healthy store pages nobody."""
    tests = tmp_path / "tests.yml"
    tests.write_text(FIRING.format(rules=RULES), encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
