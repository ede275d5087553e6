"""Dashboards as values: what of Grafana's format is needed, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["short", "s", "reqps", "percentunit", "bytes", "ops", "dateTimeFromNow", "bool"]
Kind = Literal["timeseries", "stat"]

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24
HEIGHTS: dict[Kind, int] = {"timeseries": 8, "stat": 4}


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and how its series are called: text with ``{{label}}``."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; ``bad`` is from which value on it is red, in the panel's unit."""

    title: str
    queries: Sequence[Query]
    unit: Unit = "short"
    kind: Kind = "timeseries"
    bad: float | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels; the panels of a row share its width."""

    name: str
    title: str
    rows: Sequence[Sequence[Panel]]

    def document(self) -> dict[str, Any]:
        """Return it as Grafana imports it."""
        panels: list[dict[str, Any]] = []
        top = 0
        for row in self.rows:
            height = max(HEIGHTS[panel.kind] for panel in row)
            width = WIDTH // len(row)
            for place, panel in enumerate(row):
                where = {"x": place * width, "y": top, "w": width, "h": height}
                panels.append(_panel(panel, len(panels) + 1, where))
            top += height
        return {
            "uid": f"dezky-{self.name}",
            "title": self.title,
            "tags": ["dezky"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "utc",
            "panels": panels,
        }


def _panel(panel: Panel, number: int, where: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": where,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "line" if panel.bad is not None else "off"}},
            },
            "overrides": [],
        },
        "options": {} if panel.kind == "timeseries" else {"colorMode": "value", "reduceOptions": {"calcs": ["last"]}},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
            }
            for place, query in enumerate(panel.queries)
        ],
    }
