"""Pages of MLflow's web interface: their addresses, and the saved view that a sweep's runs open in."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.sweep import Sweep

VIEW = "results"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
"""Tag of an experiment in which MLflow looks for the view of that name."""
QUESTION_TAG = "reskd.question"
"""Every sweep's experiment has it, and no other."""
# Without it MLflow opens its pages for language models, which show none of what we publish.
WORKFLOW = "workflowType=machine_learning"

PARAMS = ("kd.level", "model.resolution", "model.name", "teacher.model.resolution", "teacher.model.name")
WIDTHS = {"attributes.`Run Name`": 260, "runDateAndNestInfo": 140}
"""Pixels; MLflow's own widths cut the seed off a run's name."""


def runs_page(experiment_id: str, *, base: str = "") -> str:
    """The runs of an experiment as the saved view shows them; `base` is the server's address."""
    return f"{base}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&{WORKFLOW}"


def run_page(experiment_id: str, run_id: str, *, base: str = "") -> str:
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}?{WORKFLOW}"


def artifact_page(experiment_id: str, run_id: str, name: str) -> str:
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{name}?{WORKFLOW}"


def saved_view(sweep: Sweep) -> str:
    """The view as MLflow's web interface stores one: the columns of the sweep's tables, best accuracy first.

    The format is MLflow's own and not documented; a version that cannot read it shows its default columns.
    """
    metrics = list(dict.fromkeys(column for table in sweep.tables.values() for column in table.columns))
    metrics = metrics or ["test/top1", "GMACs"]
    accuracy = next((metric for metric in metrics if metric.startswith("test/")), metrics[0])
    columns = [*(f"metrics.`{name}`" for name in metrics), *(f"params.`{name}`" for name in PARAMS)]
    state: dict[str, Any] = {
        "orderByKey": f"metrics.`{accuracy}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [*WIDTHS, *columns],
        "columnWidths": {**WIDTHS, **{f"params.`{name}`": 40 + 6 * len(name) for name in PARAMS}},
    }
    # MLflow orders its menu by these times; constant ones keep the tag the same whenever it is written.
    return json.dumps({"name": VIEW, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})
