"""Resolution distillation for video: models, data, cohorts, metrics. Knows no Ray and no MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import Any

PUBLIC = {
    "BadInput": "reskd.errors",
    "DataSpec": "reskd.recipe",
    "FolderSink": "reskd.checkpoint",
    "KDSpec": "reskd.recipe",
    "MemberSpec": "reskd.training.member_spec",
    "ModelInputs": "reskd.data.model_inputs",
    "ModelSpec": "reskd.recipe",
    "OptimSpec": "reskd.recipe",
    "Recipe": "reskd.recipe",
    "Workers": "reskd.runtime.workers",
    "build_manifest": "reskd.data.manifest",
    "build_model": "reskd.models.catalogue",
    "clip_kl": "reskd.distill.losses",
    "fit_cohort": "reskd.training.fit",
    "frame_kl": "reskd.distill.losses",
    "joined": "reskd.runtime.workers",
    "load_trained": "reskd.deploy.card",
    "load_weights": "reskd.checkpoint",
    "open_model": "reskd.deploy.predict",
    "pixel_kl": "reskd.distill.losses",
    "pixel_mse": "reskd.distill.losses",
    "predict": "reskd.deploy.predict",
}
"""Public name -> the module that has it, loaded when the name is first asked for."""


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public are {', '.join(PUBLIC)}")
