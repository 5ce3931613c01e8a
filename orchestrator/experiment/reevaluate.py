"""Evaluates finished steps again under other protocols. Steps with the same clips share one decode pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from orchestrator.spec.identity import short
from orchestrator.spec.sweep import recipe_from_dict
from orchestrator.store.code_version import provenance
from orchestrator.store.lease import leases
from orchestrator.store.open import leased_store
from orchestrator.store.store import Store
from reskd.data.annotations import data_root
from reskd.data.manifest import Manifest, build_manifest
from reskd.errors import BadInput
from reskd.evaluation.reevaluate import Finished, PassKey, judge_again, pass_key
from reskd.models.catalogue import most_frames
from reskd.protocol import Protocol
from reskd.recipe import Checkpoint, DataSpec, Recipe

OnPass = Callable[[str, int], Callable[[int], None]]
"""Called with a description of a pass and its number of clips. Returns the function that gets the number of clips
done."""


@dataclass
class Outcome:
    """The result for each step, by its id."""

    protocols: dict[str, Protocol] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    """Steps that already had a record of this protocol."""
    held: dict[str, str] = field(default_factory=dict)
    """Steps that another process writes now -> that process."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Steps that cannot be evaluated by this protocol -> the reason."""


def stored_recipe(store: Store, step_id: str) -> Recipe:
    """The recipe of a step in the store. Raises BadInput if none is stored."""
    identity = store.identity(step_id)
    if identity is None:
        raise BadInput(f"{store.place(step_id)}: there is no recipe.json, so what was trained is unknown")
    return recipe_from_dict(identity["recipe"])


def reevaluate(
    store: Store,
    recipes: dict[str, Recipe],
    *,
    views: tuple[int, int],
    num_frames: int | None,
    twice: bool = False,
    short_side: int | None = None,
    crop_size: int | None = None,
    device: torch.device,
    loader_workers: int = 0,
    on_pass: OnPass | None = None,
) -> Outcome:
    """Evaluate finished steps with ``views``, (temporal views, crops), of ``num_frames`` frames; None: as in training.

    Frames are sampled as the step's own recipe says. ``twice`` takes every temporal view a second time. short_side,
    crop_size: sizes of the frames and their crops in pixels; None: those of the step's final test. Steps that have such
    a record already are left unchanged. Steps whose network cannot take this many frames are left out and named.
    The data root in ``recipes`` says where the videos are; they must be the ones that the step was trained on.

    Raises BadInput if no step is left or the videos are others, and the errors of `judge_again`.
    """
    outcome = Outcome()
    passes: dict[PassKey, list[str]] = {}
    for step_id, recipe in recipes.items():
        own, data = recipe.test_protocol, recipe.data
        protocol = replace(
            own,
            num_frames=num_frames or own.num_frames,
            num_views=views[0],
            num_crops=views[1],
            twice=twice,
            short_side=short_side or own.short_side,
            crop_size=crop_size or own.crop_size,
        ).without_sizes(short_side=data.short_side, crop_size=data.crop_size)
        outcome.protocols[step_id] = protocol
        most = most_frames(recipe.model, trained_on=recipe.data.num_frames)
        if most is not None and protocol.num_frames > most:
            outcome.unfit[step_id] = f"has an exit for each of {most} frames, and no more"
        elif protocol.name in store.evaluations(step_id):
            outcome.present.append(step_id)
        else:
            key = (_manifest_sha256(store, step_id), *pass_key(recipe, protocol=protocol))
            passes.setdefault(key, []).append(step_id)
    if len(outcome.unfit) == len(recipes):
        step_id, reason = next(iter(outcome.unfit.items()))
        raise BadInput(f"--frames {num_frames}: step {step_id}, {recipes[step_id].model.name}, {reason}; ask for fewer")
    manifests: dict[DataSpec, Manifest] = {}
    for step_ids in passes.values():
        data = recipes[step_ids[0]].data
        if data not in manifests:
            manifests[data] = _manifest(data, store)
        for step_id in step_ids:
            _check_data(store, step_id, data, manifests[data])
    for step_ids in passes.values():
        _judge_pass(
            store,
            step_ids,
            recipes=recipes,
            manifest=manifests[recipes[step_ids[0]].data],
            outcome=outcome,
            device=device,
            loader_workers=loader_workers,
            on_pass=on_pass,
        )
    return outcome


def _judge_pass(
    store: Store,
    step_ids: Sequence[str],
    *,
    recipes: dict[str, Recipe],
    manifest: Manifest,
    outcome: Outcome,
    device: torch.device,
    loader_workers: int,
    on_pass: OnPass | None,
) -> None:
    """Evaluate steps in one pass over the videos. Their leases are held during the pass."""
    with ExitStack() as stack:
        held = stack.enter_context(leases())
        mine = []
        for step_id in step_ids:
            if held.take(store.lease_path(step_id)):
                mine.append(step_id)
            else:
                outcome.held[step_id] = str(store.lease(step_id) or "another process")
        if not mine:
            return
        protocol = outcome.protocols[mine[0]]
        words = f"{len(mine)} step{'s' if len(mine) > 1 else ''} by {protocol.name}"
        with store.noting_damage():
            judged = judge_again(
                [_finished(store, step_id, recipes[step_id]) for step_id in mine],
                protocol=protocol,
                manifest=manifest,
                root=data_root(recipes[mine[0]].data),
                device=device,
                loader_workers=loader_workers,
                sink=store,
                on_group=on_pass(words, len(manifest.val)) if on_pass else None,
            )
        sink = leased_store(store.address, owner_id=held.owner.id)
        for step_id, judgement in judged.items():
            sink.write_evaluation(step_id, protocol.name, {**judgement.record, **provenance()}, judgement.arrays)
            outcome.judged.append(step_id)


def _finished(store: Store, step_id: str, recipe: Recipe) -> Finished:
    return Finished(
        step_id=step_id, recipe=recipe, weights=store.weights(step_id), teacher=_teacher(store, step_id, recipe)
    )


def _teacher(store: Store, step_id: str, recipe: Recipe) -> Path | None:
    """The weights file of the student's teacher; None if it had no teacher or the file no longer exists."""
    if not recipe.has_teacher:
        return None
    if isinstance(recipe.teacher, Checkpoint):
        path = Path(recipe.teacher.checkpoint)
    else:
        path = store.weights(short((store.identity(step_id) or {})["payload"]["teacher"]))
    return path if path.is_file() else None


def _manifest(data: DataSpec, store: Store) -> Manifest:
    root = data_root(data)
    if not root.is_dir():
        raise BadInput(f"the videos of {data.name!r} are not here: {root} is no folder; name it with --data-root")
    return build_manifest(data, cache=store.hash_cache)


def _manifest_sha256(store: Store, step_id: str) -> str:
    return str((store.identity(step_id) or {})["payload"]["manifest_sha256"])


def _check_data(store: Store, step_id: str, data: DataSpec, manifest: Manifest) -> None:
    if manifest.sha256 != _manifest_sha256(store, step_id):
        raise BadInput(
            f"{data_root(data)}: its videos or labels differ from those that step {step_id} was trained on; "
            "name the folder of those with --data-root, or train on these with `reskd run`"
        )


def with_root(recipes: Iterable[tuple[str, Recipe]], root: Path | None) -> dict[str, Recipe]:
    """The recipes with another folder of videos, if one is given. The folder is never part of the identity."""
    if root is None:
        return dict(recipes)
    return {step_id: replace(recipe, data=replace(recipe.data, root=str(root))) for step_id, recipe in recipes}
