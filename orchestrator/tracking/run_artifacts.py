"""The files of a step's MLflow run: its recipe, its model, its predictions, its failure. They are written once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types import ColSpec, Schema

from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import recipe_to_dict
from orchestrator.store.predictions import predictions_csv
from orchestrator.store.step_record import StepContent
from orchestrator.store.store import Store
from orchestrator.tracking.database import FAULTS
from orchestrator.tracking.run_diff import ARTIFACTS_TAG
from orchestrator.tracking.settings import first_line
from reskd.data.manifest import Manifest, read_manifest
from reskd.errors import BadInput

MODEL = "model"
"""Artifact folder of a run with its model: `mlflow.pyfunc.load_model("runs:/RUN/model")`."""
WEIGHTS = "weights.pt"
MODELS_TAG = "mlflow.log-model.history"
"""MLflow's own tag of a run with the models among its artifacts; its pages show how to load these."""
RECIPE = "recipe.yaml"
PREDICTIONS = "predictions.csv"
LOADER = "orchestrator.tracking.pyfunc_model"
"""The module with which MLflow opens a model. Older runs name it too, so it cannot be renamed."""
LAYOUT = 1
"""Increase it when the files of a run change, so that `reskd publish` writes them again."""
NUM_MANIFESTS = 8


class RunArtifacts:
    """Writes the files of runs. Every step of the sweep shares what is read for one."""

    def __init__(self, client: MlflowClient, store: Store, steps: Mapping[str, Step]) -> None:
        self._client, self._store, self._steps = client, store, steps
        self._manifest = lru_cache(maxsize=NUM_MANIFESTS)(self._read_manifest)

    def write(self, content: StepContent, run: Run) -> str | None:
        """Write the files that the run lacks. Returns what is wrong with the store's own files; None: nothing.

        Then all other files are there, and the next call tries again.
        """
        mark = mark_of(content)
        if self.has_written(content, run):
            return None
        step, wrong = self._steps[content.record.step_id], None
        texts, tags = {RECIPE: recipe_text(step), **content.texts}, {}
        with _naming_the_run(run):
            if content.record.state == "done":
                try:
                    tags = self._write_model(content, run)
                    texts[PREDICTIONS] = self._predictions(content)
                except BadInput as error:
                    wrong = str(error)
            for name, text in texts.items():
                if text:
                    self._client.log_text(run.info.run_id, _printable(text), name)
        tags |= {ARTIFACTS_TAG: mark} if wrong is None else {}
        self._client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        return wrong

    def has_written(self, content: StepContent, run: Run | None) -> bool:
        """Whether the run has all the files of this content."""
        return run is not None and run.data.tags.get(ARTIFACTS_TAG) == mark_of(content)

    def _predictions(self, content: StepContent) -> str:
        """The CSV file; empty if the store has no manifest of the clips, so that nobody knows their paths."""
        step_id, protocol = content.record.step_id, content.record.protocol
        manifest = self._manifest(content.record.data_name, content.data_sha256)
        if manifest is None or protocol is None:
            return ""
        return predictions_csv(self._store, step_id, protocol=protocol, manifest=manifest)

    def _write_model(self, content: StepContent, run: Run) -> dict[str, str]:
        """Write the weights with what MLflow needs to open them. Returns the tag that says so.

        Nothing if the store no longer has the weights.
        """
        step_id, run_id = content.record.step_id, run.info.run_id
        try:
            weights = self._store.weights(step_id)
            weights.stat()
        except FileNotFoundError:
            return {}
        if not _linked(weights, run):
            self._client.log_artifact(run_id, str(weights), MODEL)
        identity = json.dumps(self._store.identity(step_id), indent=1)
        self._client.log_text(run_id, identity, f"{MODEL}/recipe.json")
        manifest = self._manifest(content.record.data_name, content.data_sha256)
        classes = () if manifest is None else manifest.classes
        model = _mlflow_model(run_id, step_id, classes)
        self._client.log_text(run_id, model.to_yaml(), f"{MODEL}/MLmodel")
        return {MODELS_TAG: json.dumps([model.get_tags_dict()])}

    def _read_manifest(self, data_name: str, sha256: str) -> Manifest | None:
        with contextlib.suppress(FileNotFoundError):
            return read_manifest(self._store.local(self._store.manifest_reference(data_name, sha256)))
        return None


def mark_of(content: StepContent) -> str:
    """Changes when the files of a run have to be written again."""
    parts = json.dumps([LAYOUT, content.record.state == "done", sorted(content.texts.items())])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def recipe_text(step: Step) -> str:
    """The whole recipe of a step, with its teacher's, as YAML."""
    head = f"# The recipe of step {step.id}, every field. Data: manifest sha256 {step.payload['manifest_sha256']}\n"
    plain = json.loads(json.dumps(recipe_to_dict(step.recipe)))  # tuples become lists
    return head + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _mlflow_model(run_id: str, step_id: str, classes: tuple[str, ...]) -> Model:
    """MLflow's own description of a model. Without an input schema, since the model takes paths and frames alike."""
    signature = ModelSignature(outputs=Schema([ColSpec("double", name) for name in classes])) if classes else None
    model = Model(artifact_path=MODEL, run_id=run_id, signature=signature, metadata={"step_id": step_id})
    add_to_model(model, loader_module=LOADER, data=WEIGHTS)
    return model


def _linked(weights: Path, run: Run) -> bool:
    """Whether the weights are now in the run's model as a hard link, which takes no space.

    Not if MLflow keeps its artifacts elsewhere. The link stays when the store's file is removed.
    """
    place = urlsplit(run.info.artifact_uri)
    if place.scheme != "file":
        return False
    target = Path(unquote(place.path), MODEL, WEIGHTS)
    beside = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(weights):
            return True
        os.link(weights, beside)
        os.replace(beside, target)  # an earlier version has written a copy
    except OSError:  # another disk, or one without links
        return False
    return True


def _printable(text: str) -> str:
    """The text in UTF-8, also if a path in it is not."""
    return text.encode(errors="backslashreplace").decode()


@contextlib.contextmanager
def _naming_the_run(run: Run) -> Iterator[None]:
    """Turn what the artifact store raises into MLflow's error. Each kind of store has exceptions of its own."""
    try:
        yield
    except FAULTS:
        raise
    except Exception as error:
        raise MlflowException(f"files of run {run.info.run_name!r}: {first_line(error)}") from error
