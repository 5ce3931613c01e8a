"""Saved views of a sweep's experiment, as MLflow's web interface keeps them: results, by row, curves, cost, failures.

The format is MLflow's own and not documented; a version that cannot read it shows its default columns.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.spec.columns import quantity_of
from orchestrator.spec.sweep import Sweep
from orchestrator.store.step_record import ROW

RESULTS, BY_ROW, CURVES, COST, FAILURES = "results", "by-row", "learning-curves", "accuracy-against-cost", "failures"
OLD_VIEWS = ("by-kd-level",)
"""Views of earlier versions, which `reskd publish` removes."""

PARAMS = ("kd.level", "model.resolution", "model.name", "teacher.model.resolution", "teacher.model.name")
RUN_NAME, CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
WIDTHS = {RUN_NAME: 260, CREATED: 140, "tags.`reskd.reason`": 500}
"""Column widths in pixels. MLflow's default widths cut the seed off a run's name."""
GROUP_WIDTH = 430
"""Of the column with a group's name, which is its row and its kind."""
METRIC_WIDTH = 130
KIND = "reskd.kind"
STUDENTS = f"tags.`{KIND}` != 'teacher' AND tags.`{KIND}` != 'report'"
"""MLflow filter for students and baselines."""
TRAININGS = f"tags.`{KIND}` != 'report'"
LOSSES = ("train/loss", "train/task_loss", "train/kd_loss")
ALL_RUNS = "SHOW_ALL"
MAX_RUNS = 100
"""Most runs in one chart."""


def view_tag(view: str) -> str:
    """Experiment tag in which MLflow looks for the view with this name."""
    return f"mlflow.sharedViewState.{view}"


def view_tags(sweep: Sweep) -> dict[str, str]:
    """Tags of the sweep's experiment: one for each view."""
    metrics = list(sweep.columns) or ["test/top1", "GMACs"]
    accuracy = sweep.main_metric
    curves = _charts("Validation and losses", [_line(key) for key in (f"val/{accuracy.split('/')[-1]}", *LOSSES)])
    axes = [("PARAM", "model.resolution")]
    axes += [("METRIC", metric) for metric in metrics if not quantity_of(metric).is_test]
    cost = _charts("Accuracy against cost", [_scatter(key, kind, accuracy) for kind, key in axes])
    table = _table(metrics, order=accuracy)
    views = {
        RESULTS: {**table, **curves},
        BY_ROW: {
            **_table(metrics, order=accuracy, are_groups=True),
            **curves,
            "searchFilter": TRAININGS,
            "groupBy": _grouped_by(ROW, KIND),
        },
        CURVES: {**table, **curves, "searchFilter": TRAININGS},
        COST: {**table, **cost, "searchFilter": STUDENTS},
        FAILURES: {
            **_table([], order=accuracy, tags=["reskd.reason", KIND, "reskd.step_id", "reskd.host"]),
            "searchFilter": "attributes.status = 'FAILED'",
        },
    }
    return {view_tag(name): _saved(name, state) for name, state in views.items()}


def _saved(name: str, state: dict[str, Any]) -> str:
    # MLflow orders its menu by these times; constant ones keep the tag the same whenever it is written.
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def _table(
    metrics: list[str], *, order: str, tags: list[str] | None = None, are_groups: bool = False
) -> dict[str, Any]:
    """The columns: tags, metrics, then the parameters that differ between recipes. Runs are sorted by accuracy."""
    columns = [f"tags.`{name}`" for name in tags or []]
    columns += [*(f"metrics.`{name}`" for name in metrics), *(f"params.`{name}`" for name in PARAMS)]
    return {
        "orderByKey": f"metrics.`{order}`",
        "orderByAsc": not quantity_of(order).higher_is_better,
        "selectedColumns": columns,
        "columnOrder": [RUN_NAME, CREATED, *columns],
        "columnWidths": {
            **WIDTHS,
            **({RUN_NAME: GROUP_WIDTH} if are_groups else {}),
            **{f"metrics.`{name}`": METRIC_WIDTH for name in metrics},
            **{f"params.`{name}`": 40 + 6 * len(name) for name in PARAMS},
        },
    }


def _grouped_by(*tags: str) -> dict[str, Any]:
    """Mean over the runs with the same values. By tags, since a tag follows the sweep file where a row gets a name."""
    return {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": tag} for tag in tags]}


def _charts(title: str, charts: list[dict[str, Any]]) -> dict[str, Any]:
    """The charts that MLflow shows first, in a section of their own."""
    own = {"metricSectionId": title, "deleted": False, "isGenerated": False, "runsCountToCompare": MAX_RUNS}
    section = {"uuid": title, "name": title, "display": True, "isReordered": False, "deleted": False}
    return {
        "compareRunCharts": [{"uuid": f"{title}-{number}", **own, **chart} for number, chart in enumerate(charts)],
        "compareRunSections": [{**section, "isGenerated": False}],
        "isAccordionReordered": True,  # else the sections are sorted by their names
        "runsHiddenMode": ALL_RUNS,
    }


def _line(metric: str) -> dict[str, Any]:
    """A metric by epoch."""
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "useGlobalXaxisKey": False,
        "selectedXAxisMetricKey": "",
    }


def _scatter(name: str, kind: str, accuracy: str) -> dict[str, Any]:
    """Accuracy against a parameter or a metric."""
    return {"type": "SCATTER", "xaxis": {"key": name, "type": kind}, "yaxis": {"key": accuracy, "type": "METRIC"}}
