"""Imported measurements in MLflow: one run for each file and path, in the experiment `throughput`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient

from orchestrator.store.imported_speeds import BenchFile, bench_hash
from orchestrator.store.store import Store
from orchestrator.tracking.database import FAULTS, client_of, is_sqlite, only_writer, shown, uri_of
from orchestrator.tracking.settings import equals, first_line
from reskd.errors import BadInput

EXPERIMENT = "throughput"
KEY_TAG = "reskd.bench"
"""Tag with <hash of the file>/<path>. A repeated import finds its runs by it."""


def publish_bench(store: Store, file: BenchFile, content: Mapping[str, Any], *, tracking_uri: str | None) -> int:
    """Write the missing runs of a file to MLflow; returns how many. Raises BadInput if MLflow does not answer."""
    uri = uri_of(store, tracking_uri)
    try:
        client = client_of(store, tracking_uri)
        with only_writer(store, uri):
            found = client.get_experiment_by_name(EXPERIMENT)
            location = store.artifacts.as_uri() if is_sqlite(uri) else None
            experiment_id = (
                found.experiment_id if found else client.create_experiment(EXPERIMENT, artifact_location=location)
            )
            paths = dict.fromkeys(one.path for one in file.results)
            new = [path for path in paths if _write(client, experiment_id, file, content, path)]
    except FAULTS as error:
        raise BadInput(
            f"{shown(uri)}: MLflow did not take the measurements ({first_line(error)}); "
            "they are in the store, import the file again later"
        ) from error
    return len(new)


def _write(client: MlflowClient, experiment_id: str, file: BenchFile, content: Mapping[str, Any], path: str) -> bool:
    key = f"{bench_hash(content)}/{path}"
    runs = client.search_runs([experiment_id], equals(f"tags.`{KEY_TAG}`", key))
    if any(run.info.status == "FINISHED" for run in runs):
        return False
    for run in runs:  # incomplete, from an interrupted import
        client.delete_run(run.info.run_id)
    run_id = client.create_run(experiment_id, tags={KEY_TAG: key}, run_name=f"{file.model}, {path}").info.run_id
    own = [one for one in file.results if one.path == path]
    params = {
        "model": file.model,
        "num_frames": file.num_frames,
        "device": file.device,
        "num_threads": file.num_threads,
        "path": path,
        "dtype": own[0].dtype,
        "engine": ", ".join(dict.fromkeys(one.engine for one in own)),
        "compile_mode": file.compile_mode,
        "created": file.created,
        **{f"versions.{name}": value for name, value in file.versions.items() if value},
    }
    for name, value in params.items():
        client.log_param(run_id, name, value)
    for one in own:
        where = f"{one.resolution}px/batch_{one.batch_size}"
        client.log_metric(run_id, f"clips_per_s/{where}", one.clips_per_s)
        if one.roofline_share is not None:
            client.log_metric(run_id, f"roofline_share/{where}", one.roofline_share)
    client.log_dict(run_id, dict(content), "throughput.json")
    client.set_terminated(run_id, "FINISHED")
    return True
