"""Shared parts of the commands for finished steps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.inputs import open_store
from reskd.errors import BadInput
from reskd.files import read_json
from reskd.step_files import IDENTITY, Identity

if TYPE_CHECKING:
    from orchestrator.store.evaluations import StoredJudgement
    from orchestrator.store.store import Store
    from reskd.deploy.card import Trained

EXPORTED = (".pt2", ".onnx")

StepId = Annotated[str, typer.Argument(metavar="STEP", help="A step's id, or the first letters of it.")]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help="A protocol, such as val-f32-v10x3. Default: the final test's.")
]


def stored_judgement_of(store: Store, prefix: str, protocol: str | None) -> StoredJudgement:
    from orchestrator.store.evaluations import finished_step, stored_judgement

    judged = stored_judgement(store, finished_step(store, prefix), protocol=protocol)
    if len(judged.indices) == 0:
        raise BadInput(f"step {judged.step_id}: its evaluation {judged.protocol} holds no clips")
    return judged


def trained_of(named: str, store: str | None) -> Trained:
    """The model of the weights.pt that a path or a step id names."""
    path = Path(named)
    if path.suffix in EXPORTED:
        raise BadInput(f"{path}: exported already; give the step or the weights.pt that it was made from")
    if path.suffix == ".pt":
        from reskd.deploy.card import load_trained

        return load_trained(path, recipe=(read_json(path.parent / IDENTITY, shape=Identity) or {}).get("payload"))
    if path.is_file() or path.is_dir():
        raise BadInput(f"{path}: not a model; give a .pt2, an .onnx, a weights.pt or a step id")
    from orchestrator.experiment.load_step import load_finished
    from orchestrator.store.evaluations import finished_step

    where = open_store(store)
    return load_finished(where, finished_step(where, named))


def check_writable(path: Path, *, option: str) -> None:
    """Raise BadInput if the file cannot be written, before any work is done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise BadInput(f"{option} {path}: cannot be written ({error.strerror}); name another place") from error
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file")
