"""A sweep file together with its data and the store: everything that a plan, a run or a table starts from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.plan.cost import Costs
from orchestrator.plan.cost_inputs import Asked, costs_of, num_devices
from orchestrator.plan.forecast import Forecast
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.spec.steps import Step, build_steps, steps_of
from orchestrator.spec.strict import naming
from orchestrator.spec.sweep import Sweep, load
from orchestrator.stats.estimates import paired_difference
from orchestrator.stats.sequential import Look, look_at
from orchestrator.store.step_record import records_from_store
from orchestrator.store.store import Store
from orchestrator.tables.build import check_tables
from orchestrator.tables.published import load_published
from orchestrator.tables.results import collect_results
from reskd.data.annotations import data_root
from reskd.data.manifest import Manifest, build_manifest, read_manifest
from reskd.data.sampling import num_steps
from reskd.errors import BadInput, Damaged
from reskd.files import Json
from reskd.recipe import DataSpec

logger = logging.getLogger(__name__)

ManifestOf = Callable[[DataSpec], Manifest | None]


@dataclass(frozen=True)
class Prepared:
    """A sweep, its steps with their ids, and the manifests of its data sets."""

    sweep: Sweep
    store: Store
    steps: dict[str, Step]
    manifests: dict[str, Manifest]
    """Manifests by sha256. A step's payload holds its sha256."""
    unseen: tuple[str, ...] = field(default=())
    """Names of data sets with no videos on this machine and no manifest in the store. Their steps have provisional
    ids."""
    possible: dict[str, Step] = field(default_factory=dict)
    """With `seeds: auto`, the steps of every seed up to the limit. `steps` are those that are wanted now."""
    look: Look | None = None
    """The state of the comparison of `seeds: auto`."""

    def grown(self) -> Prepared:
        """The sweep with as many seeds as `seeds: auto` asks for, given the results in the store.

        Without `seeds: auto`, the sweep itself.
        """
        sweep, auto = self.sweep, self.sweep.auto
        if auto is None:
            return self
        compared = [cell for cell in sweep.with_seeds(auto.limit).cells if cell.row in auto.compare]
        records = records_from_store(self.store, steps_of(self.possible, compared))
        results = collect_results(compared, steps=self.possible, records=records, metrics=[auto.column])
        values, reference = (
            {result.seed: result.value for result in results if result.row == row and result.value is not None}
            for row in auto.compare
        )
        look = look_at(dict(paired_difference(values, reference).by_seed), auto)
        grown = sweep.with_seeds(look.num_seeds)
        return replace(self, sweep=grown, steps=steps_of(self.possible, grown.cells), look=look)

    def look_dict(self) -> dict[str, Any]:
        """Plain values of the `seeds: auto` rule and its state, under the key `sequential`; empty without such a
        rule."""
        if self.sweep.auto is None or self.look is None:
            return {}
        return {"sequential": {**asdict(self.sweep.auto), **asdict(self.look)}}

    def manifest(self, step: Step) -> Manifest:
        return self.manifests[step.payload["manifest_sha256"]]

    def manifest_reference(self, step: Step) -> str:
        """The reference by which a worker on another machine gets the step's manifest from the store."""
        return self.store.manifest_reference(step.recipe.data.name, step.payload["manifest_sha256"])

    def plan(self, *, retry_failed: bool = False, own: str | None = None, asked: Asked | None = None) -> Plan:
        """The plan from the current state of the store. Leases of the run ``own`` count as free."""
        status = {step_id: self.store.status(step_id, own=own) for step_id in self.steps}
        costs = self.costs(asked, finished={step_id: found.done for step_id, found in status.items() if found.done})
        devices = num_devices(self.sweep.resources, costs, asked=asked)
        return make_plan(self.sweep, self.steps, status, costs=costs, num_devices=devices, retry_failed=retry_failed)

    def refuse(self, found: Forecast, *, budget: float | None = None) -> None:
        """Raise BadInput if the jobs exceed the budget, or if no device has enough memory for one of them."""
        limit = budget if budget is not None else self.sweep.resources.budget_gpu_hours
        found.refuse_above(limit, where=str(self.sweep.path))
        if not found.is_guess:  # a guessed device refuses nothing
            found.refuse_too_large(where=str(self.sweep.path))

    def costs(self, asked: Asked | None = None, *, finished: Mapping[str, Json]) -> Costs:
        """Estimates for this machine's device or the one asked for, corrected by the DONE records of finished steps."""
        with naming(str(self.sweep.path)):
            return costs_of(
                self.sweep.resources,
                self.steps,
                self.manifests,
                folder=self.store.devices,
                records=finished,
                asked=asked,
            )


def prepare(path: Path, *, changes: Sequence[str] = (), store: Store) -> Prepared:
    """Load a sweep file and give its steps their ids. Raises BadInput if anything is wrong with the file or the
    data."""
    sweep = load(path, changes=changes)
    check_tables(sweep, load_published())
    return bind(sweep, store)


def bind(sweep: Sweep, store: Store, *, manifest_of: ManifestOf | None = None) -> Prepared:
    """The sweep with its steps' ids, from the videos on this machine or the manifests in the store.

    manifest_of: finds a data set's manifest; None: `find_manifest` does.
    """
    find = manifest_of or partial(find_manifest, store=store)
    manifests: dict[str, Manifest] = {}
    unseen: list[str] = []

    def manifest_sha256(spec: DataSpec) -> str:
        manifest = find(spec)
        if manifest is None:
            unseen.append(spec.name)
            return f"unseen:{spec.name}"
        manifests[manifest.sha256] = manifest
        return manifest.sha256

    limit = sweep.auto.limit if sweep.auto else 0
    steps = build_steps(sweep.with_seeds(limit), manifest_of=manifest_sha256)
    return Prepared(sweep, store, steps, manifests, tuple(dict.fromkeys(unseen)), possible=steps).grown()


def find_manifest(spec: DataSpec, *, store: Store) -> Manifest | None:
    """The manifest of the videos on this machine, else the newest in the store for the data set's name, else None."""
    try:
        root = data_root(spec)
    except BadInput:
        root = None
    if root is not None and root.is_dir():
        manifest = build_manifest(spec, cache=store.hash_cache)
        store.write_manifest(manifest)
        return manifest
    known = store.newest_manifest(spec.name)
    return None if known is None else read_manifest(known)


def check_steps(prepared: Prepared) -> None:
    """Refuse steps that could not train: too few clips, networks, teachers and files that do not fit.

    A plan and a run ask it alike. Raises BadInput with the row and the way out. For a data set without a manifest
    (`unseen`), what its videos decide is not checked.
    """
    from orchestrator.experiment.check_networks import check_models  # builds networks

    def manifest_of(step: Step) -> Manifest | None:
        return prepared.manifests.get(step.payload["manifest_sha256"])

    def classes_of(step: Step) -> tuple[str, ...] | None:
        manifest = manifest_of(step)
        return None if manifest is None else manifest.classes

    with naming(str(prepared.sweep.path)):
        for step in prepared.steps.values():
            if not step.recipe.is_imported and (manifest := manifest_of(step)) is not None:
                num_steps(len(manifest.train), step.recipe.optim.batch_size)
        check_models(prepared.steps, classes_of)


def check_before_start(prepared: Prepared) -> None:
    """Check everything that can be checked before any worker starts. Raises BadInput with the way out."""
    with naming(str(prepared.sweep.path)):
        for step in prepared.steps.values():
            data = step.recipe.data
            if not data_root(data).is_dir():
                raise BadInput(
                    f"the videos of {data.name!r} are not here: {data_root(data)} is no folder; "
                    f"set data.root or RESKD_DATA{_demo_hint(data)}"
                )
    check_steps(prepared)
    _check_teachers(prepared)


def _check_teachers(prepared: Prepared) -> None:
    """Read the weights of finished teachers whose students are to be trained, before anything starts for them.

    The plan then knows damaged ones, and blocks their students.
    """
    store = prepared.store
    has_ended = {step_id: store.status(step_id).state in ("done", "damaged", "held") for step_id in prepared.steps}
    wanted = {step.teacher_id for step in prepared.steps.values() if not has_ended[step.id]}
    for step_id in sorted(step_id for step_id in wanted if step_id is not None):
        if store.status(step_id).state == "done":
            try:
                store.check_weights(step_id)
            except Damaged as error:
                logger.error("%s", error)
            except FileNotFoundError as error:
                store.note_damage(step_id, str(error))


def _demo_hint(data: DataSpec) -> str:
    return f", or make the demo's with: reskd data make-demo {data.root}" if data.name == "demo" else ""
