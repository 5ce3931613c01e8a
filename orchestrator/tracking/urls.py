"""Addresses of MLflow's web pages."""

from __future__ import annotations

import re

from orchestrator.tracking.saved_views import BY_ROW, COST, CURVES, FAILURES, RESULTS

QUESTION_TAG = "reskd.question"
"""Tag that every sweep's experiment has, and no other experiment."""
# Without it, MLflow opens its pages for language models, which do not show our runs.
WORKFLOW = "workflowType=machine_learning"


def without_login(address: str) -> str:
    """A server's address without user and password, as links begin: the browser asks for them."""
    return re.sub(r"//\S*@", "//", address)


def runs_page(experiment_id: str, *, base: str = "", view: str = RESULTS) -> str:
    """Address of an experiment's runs in a saved view. `base`: the server's address."""
    mode = "&compareRunsMode=CHART" if view in (CURVES, COST) else ""
    return f"{base}/#/experiments/{experiment_id}/runs?viewStateShareKey={view}{mode}&{WORKFLOW}"


def run_page(experiment_id: str, run_id: str, *, base: str = "") -> str:
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}?{WORKFLOW}"


def artifact_page(experiment_id: str, run_id: str, name: str) -> str:
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{name}?{WORKFLOW}"


MODELS_PAGE = f"#/models?{WORKFLOW}"


def note_links(experiment_id: str) -> dict[str, str]:
    """Links in the experiment's description: words -> address, relative to MLflow's own."""
    views = {
        "results": RESULTS,
        "by row": BY_ROW,
        "learning curves": CURVES,
        "accuracy against cost": COST,
        "failures": FAILURES,
    }
    pages = {words: runs_page(experiment_id, view=view).lstrip("/") for words, view in views.items()}
    return pages | {"teachers and best students": MODELS_PAGE}
