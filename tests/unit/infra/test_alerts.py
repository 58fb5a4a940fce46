"""The alerting rules: Prometheus takes them, each fires when it should, and what they ask for is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from controller.telemetry.metrics import Metrics
from tests.unit.telemetry.telling import tell_everything

MONITORING = Path(__file__).parents[3] / "infra/monitoring"
RULES = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
TESTS = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
NAMES = [rule["alert"] for rule in RULES]

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool isn't installed")


def expected(alert: str) -> list[list[dict[str, Any]]]:
    """What the tests of the alert expect to fire, check by check."""
    checks = [check for test in TESTS if test["name"] == alert for check in test["promql_expr_test"]]
    assert {check["expr"] for check in checks} == {f'ALERTS{{alertname="{alert}",alertstate="firing"}}'}
    return [check["exp_samples"] for check in checks]


@needs_promtool
@pytest.mark.parametrize("command", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")])
def test_promtool_is_content(command: tuple[str, ...]) -> None:
    """The rules parse, and its own tests of them pass."""
    told = subprocess.run(
        ["promtool", *command], cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_is_seen_firing_and_silent(alert: str) -> None:
    """By promtool's tests, which nobody may forget for a new one."""
    fired = [bool(samples) for samples in expected(alert)]
    assert set(fired) == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """What it is, what it means and what to do, naming only labels that it has when it fires."""
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    fired = [sample["labels"] for samples in expected(rule["alert"]) for sample in samples]
    for label in re.findall(r"\$labels\.(\w+)", " ".join(notes.values())):
        assert any(re.search(rf"\b{label}=", labels) for labels in fired)


def test_what_the_rules_ask_for_is_there() -> None:
    """Every metric exists, with the labels and the words of closed sets that are asked for."""
    metrics = Metrics(version="1", inventory="default")
    tell_everything(metrics)
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    names = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            names.add(sample.name)
            for label, value in sample.labels.items():
                values[sample.name, label].add(value)
    asked = [found for rule in RULES for found in re.findall(r"\b(acaops_\w+)(?:\{([^}]*)\})?", rule["expr"])]
    assert asked
    for name, selectors in asked:
        assert name in names
        for label, value in re.findall(r'(\w+)="([^"]*)"', selectors):
            assert value in values[name, label]
