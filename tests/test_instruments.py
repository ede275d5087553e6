"""Rules, dashboards and the handbook agree with what the processes export, and with each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from infrastructure.grafana.dashboards import DASHBOARDS
from infrastructure.local.place import ROOT
from services.audit.settings import AuditSettings
from services.billing.settings import BillingSettings
from services.flags.settings import FlagsSettings
from services.health.settings import HealthSettings
from services.partner.settings import PartnerSettings
from services.tenant.settings import TenantSettings
from shared.topology import BY_NAME
from tests.support.exported import ITS_OWN, SCRAPE, registered
from tests.support.promql import Unknown, read

pytestmark = pytest.mark.unit

PROMETHEUS = ROOT / "infrastructure" / "prometheus"
GRAFANA = ROOT / "infrastructure" / "grafana"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
SETTINGS: dict[str, Any] = {
    "audit": AuditSettings,
    "billing": BillingSettings,
    "flags": FlagsSettings,
    "health": HealthSettings,
    "partner": PartnerSettings,
    "tenant": TenantSettings,
}


class Rule(NamedTuple):
    file: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.body.get("alert") or self.body["record"])


class Asked(NamedTuple):
    where: str
    expr: str
    legend: str = ""


def rules() -> list[Rule]:
    return [
        Rule(path.name, rule)
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if "alert" in rule.body]


def queries() -> Iterator[Asked]:
    for rule in rules():
        yield Asked(f"{rule.file} {rule.name}", rule.body["expr"])
    for path in sorted(GRAFANA.glob("dashboards/*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield Asked(f"{path.name} {panel['title']}", target["expr"], target["legendFormat"])


def known() -> dict[str, frozenset[str]]:
    """Every series that Prometheus has, with its labels: exported, made by a rule, or Prometheus' own."""
    found = {name: labels | SCRAPE for name, labels in registered().items()} | ITS_OWN
    for rule in rules():
        if "record" in rule.body:
            kept = [each.kept for each in read(rule.body["expr"]).aggregations]
            found[rule.name] = frozenset().union(*kept) - {"le"}
    return found


def complaints(asked: Asked, series: dict[str, frozenset[str]]) -> Iterator[str]:
    expression = read(asked.expr)
    for selector in expression.selectors:
        if selector.metric not in series:
            yield f"{asked.where}: nobody exports {selector.metric}"
        elif odd := selector.labels - series[selector.metric]:
            yield f"{asked.where}: {selector.metric} has no label {', '.join(sorted(odd))}"
    for each in expression.aggregations:
        for selector in each.inside:
            if odd := each.kept - series.get(selector.metric, each.kept):
                yield f"{asked.where}: {selector.metric} cannot be told apart by {', '.join(sorted(odd))}"
    wanted = set(re.findall(r"{{(\w+)}}", asked.legend))
    kept = frozenset().union(*(each.kept for each in expression.aggregations))
    left = kept or frozenset().union(*(series.get(each.metric, frozenset()) for each in expression.selectors))
    if odd := wanted - left:
        yield f"{asked.where}: its legend names {', '.join(sorted(odd))}, which no series has"


def test_every_query_asks_for_metrics_and_labels_that_there_are() -> None:
    series = known()
    asked = list(queries())
    assert len(asked) > 100
    assert [line for one in asked for line in complaints(one, series)] == []


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("rate(dezky_outbox_publishd_total[5m])", "nobody exports"),
        ('dezky_outbox_pending{service="tenant"}', "has no label service"),
        ("max by (service) (dezky_outbox_pending)", "cannot be told apart by service"),
    ],
)
def test_a_query_that_would_show_nothing_is_found(expr: str, complaint: str) -> None:
    assert complaint in "".join(complaints(Asked("here", expr), known()))


def test_what_is_no_known_promql_is_refused() -> None:
    with pytest.raises(Unknown, match="quantile_over_tme"):
        read("quantile_over_tme(0.9, up[5m])")


def test_metrics_are_named_as_prometheus_wants_them() -> None:
    """https://prometheus.io/docs/practices/naming: base units, and ``_total`` for what only grows."""
    ours = {name for name in registered() if name.startswith("dezky_")}
    assert [name for name in sorted(ours) if re.search(r"_(ms|millis\w*|minutes|hours|days|kb|mb)(_|$)", name)] == []


def test_every_alert_says_how_bad_it_is_in_words_and_what_to_do() -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (\w+)$", handbook, re.MULTILINE)
    for rule in alerts():
        assert rule.body["labels"]["severity"] in {"page", "ticket"}, rule.name
        assert rule.body["annotations"].keys() == {"summary", "runbook"}, rule.name
        assert rule.body["annotations"]["runbook"] == f"docs/operations.md#{rule.name.lower()}"
        assert rule.name in headings, f"docs/operations.md has no heading {rule.name}"
        section = handbook.split(f"# {rule.name}\n", 1)[1].split("\n#", 1)[0]
        for part in ("**Means:**", "**Do:**", "**Over:**"):
            assert part in section, f"{rule.name} has no {part}"
    names = {rule.name for rule in alerts()}
    described = set(
        re.findall(r"^### (\w+)$", handbook.split("\n## Alerts\n", 1)[1].split("\n## ", 1)[0], re.MULTILINE)
    )
    assert described <= names, f"no rule raises {described - names}"
    assert len(alerts()) == len(names)


def test_every_alert_has_a_unit_test() -> None:
    tried = set()
    for path in PROMETHEUS.glob("tests/*.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            expected = [each for each in case["alert_rule_test"] if each["exp_alerts"]]
            tried |= {each["alertname"] for each in expected}
    assert tried == {rule.name for rule in alerts()}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml")],
        ["check", "rules", *map(str, RULES)],
        ["test", "rules", *map(str, sorted(PROMETHEUS.glob("tests/*.yml")))],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_promtool_agrees(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_process_is_scraped_where_it_listens() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert targets.keys() == BY_NAME.keys()
    for name, target in targets.items():
        assert target["names"] == [name]
        if name == "gateway":
            assert target["port"] == 8080
        elif (port := SETTINGS[name].model_fields["port"]).default is not ...:
            assert target["port"] == (8085 if port.is_required() else port.default)
    missing = next(rule for rule in alerts() if rule.name == "ProcessMissing")
    assert set(re.findall(r'job="(\w+)"', missing.body["expr"])) == targets.keys()


def test_grafana_finds_its_datasource_and_its_dashboards() -> None:
    datasource = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/dezky.yml").read_text())["providers"][0]
    assert provider["type"] == "file"
    files = {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("dashboards/*.json")}
    assert files.keys() == {"fleet", "gateway", "events", "audit", "billing"} == {each.name for each in DASHBOARDS}
    for document in files.values():
        for panel in document["panels"]:
            where = panel["gridPos"]
            assert where["x"] + where["w"] <= 24
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {datasource["uid"]}
    assert len({document["uid"] for document in files.values()}) == len(files)
