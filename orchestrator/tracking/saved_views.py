"""Saved views of a sweep's experiment, as MLflow's web interface keeps them: results, by level, cost, failures.

The format is MLflow's own and not documented; a version that cannot read it shows its default columns.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.sweep import Sweep

RESULTS, BY_LEVEL, COST, FAILURES = "results", "by-kd-level", "accuracy-against-cost", "failures"

PARAMS = ("kd.level", "model.resolution", "model.name", "teacher.model.resolution", "teacher.model.name")
WIDTHS = {"attributes.`Run Name`": 260, "runDateAndNestInfo": 140, "tags.`reskd.reason`": 500}
"""Column widths in pixels. MLflow's default widths cut the seed off a run's name."""
STUDENTS = "tags.`reskd.kind` != 'teacher' AND tags.`reskd.kind` != 'report'"
"""MLflow filter for students and baselines."""
ALL_RUNS = "SHOW_ALL"
SECTION = "cost"


def view_tag(view: str) -> str:
    """Experiment tag in which MLflow looks for the view with this name."""
    return f"mlflow.sharedViewState.{view}"


def view_tags(sweep: Sweep) -> dict[str, str]:
    """Tags of the sweep's experiment: one for each view."""
    metrics = list(sweep.columns) or ["test/top1", "GMACs"]
    accuracy = sweep.main_metric
    views = {
        RESULTS: _table(metrics, order=accuracy),
        BY_LEVEL: {**_table(metrics, order=accuracy), "searchFilter": STUDENTS, "groupBy": _grouped_by("kd.level")},
        COST: _cost_charts(metrics, accuracy),
        FAILURES: {
            **_table([], order=accuracy, tags=["reskd.reason", "reskd.kind", "reskd.step_id", "reskd.host"]),
            "searchFilter": "attributes.status = 'FAILED'",
        },
    }
    return {view_tag(name): _saved(name, state) for name, state in views.items()}


def _saved(name: str, state: dict[str, Any]) -> str:
    # MLflow orders its menu by these times; constant ones keep the tag the same whenever it is written.
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def _table(metrics: list[str], *, order: str, tags: list[str] | None = None) -> dict[str, Any]:
    """The columns: tags, metrics, then the parameters that differ between recipes. Runs are sorted by accuracy."""
    columns = [f"tags.`{name}`" for name in tags or []]
    columns += [*(f"metrics.`{name}`" for name in metrics), *(f"params.`{name}`" for name in PARAMS)]
    return {
        "orderByKey": f"metrics.`{order}`",
        "orderByAsc": not quantity_of(order).higher_is_better,
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *columns],
        "columnWidths": {
            **WIDTHS,
            "tags.`reskd.reason`": 500,
            **{f"params.`{name}`": 40 + 6 * len(name) for name in PARAMS},
        },
    }


def _grouped_by(param: str) -> dict[str, Any]:
    """Mean over all runs with the same value: over seeds, and over everything else that the sweep varies."""
    return {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": param}]}


def _cost_charts(metrics: list[str], accuracy: str) -> dict[str, Any]:
    """Charts of accuracy against resolution and against each cost column of the tables."""
    axes = [("PARAM", "model.resolution")]
    axes += [("METRIC", metric) for metric in metrics if not quantity_of(metric).is_test]
    charts = [
        {
            "type": "SCATTER",
            "uuid": f"{SECTION}-{name}",
            "metricSectionId": SECTION,
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": 100,
            "xaxis": {"key": name, "type": kind},
            "yaxis": {"key": accuracy, "type": "METRIC"},
        }
        for kind, name in axes
    ]
    section = {"uuid": SECTION, "name": "Accuracy against cost", "display": True, "isReordered": False}
    return {
        **_table(metrics, order=accuracy),
        "searchFilter": STUDENTS,
        "compareRunCharts": charts,
        "compareRunSections": [section | {"deleted": False, "isGenerated": False}],
        "runsHiddenMode": ALL_RUNS,
    }
