"""Writes the page of a sweep, report.html: once, or again and again while it trains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.sweep_figures import sweep_figures
from orchestrator.experiment.sweep_tables import sweep_tables, waiting_steps
from orchestrator.plan.cost import Costs
from orchestrator.plan.cost_inputs import Asked, num_devices
from orchestrator.plan.device_profiles import profile_name_of
from orchestrator.plan.plan import make_plan
from orchestrator.report.answer import Answer, answer_of, main_comparison
from orchestrator.report.contents import Chart, Page
from orchestrator.report.cost import forecast_words
from orchestrator.report.gather import gather
from orchestrator.report.inline_svg import inline_svg
from orchestrator.report.read_steps import StepFacts, read_facts
from orchestrator.report.render import PAGE_FILE, render
from orchestrator.report.timeline import Waiting
from orchestrator.spec.columns import quantity_of
from orchestrator.spec.steps import name_of
from orchestrator.store.step_record import StepRecord, records_from_store
from orchestrator.tables.table import Figure, Table
from reskd.errors import BadInput
from reskd.files import write_atomic

logger = logging.getLogger(__name__)

CAPTIONS = {
    "accuracy_vs_gmacs": "One mark for each row: its mean over seeds. Small marks are seeds.",
    "learning_curves": "Validation during training, a cheaper evaluation than the final test.",
    "class_gain": "Paired by seed, on the same clips of the final test.",
}


class PageWriter:
    """Writes the page of one sweep. It keeps what does not change: facts of finished steps, drawn charts."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._facts: dict[str, StepFacts] = {}
        self._charts: dict[str, tuple[object, Chart]] = {}
        self._costs: dict[str, Costs | None] = {}
        self._forecast: str | None = None
        self._seen: object = None

    def write(self, *, tables: Sequence[Table] | None = None, records: Mapping[str, StepRecord] | None = None) -> Path:
        """Write the page now, with these tables or new ones from the store."""
        path = page_path(self._prepared)
        write_atomic(path, render(self.page(tables=tables, records=records)))
        return path

    def write_news(self) -> bool:
        """Write the page if a step has changed since the last call. Returns whether it was written."""
        store, unsettled = self._prepared.store, self._prepared.steps.keys() - self._facts_of_done()
        seen = [
            (step_id, store.is_finished(step_id), store.epochs(step_id), store.lease(step_id) is not None)
            for step_id in sorted(unsettled)
        ]
        if seen == self._seen:
            return False
        self.write()
        self._seen = seen
        return True

    def _facts_of_done(self) -> set[str]:
        return {step_id for step_id, facts in self._facts.items() if facts.done is not None}

    def page(self, *, tables: Sequence[Table] | None = None, records: Mapping[str, StepRecord] | None = None) -> Page:
        prepared, store = self._prepared, self._prepared.store
        own = records_from_store(store, prepared.steps)
        self._facts = read_facts(store, prepared.steps, own, known=self._facts)
        waiting = waiting_steps(prepared, own)
        held = waiting | {step_id for step_id, record in own.items() if record.state == "running"}
        records = own if records is None else records
        return gather(
            prepared.sweep,
            steps=prepared.steps,
            store=store,
            manifests=list(prepared.manifests.values()),
            tables=sweep_tables(prepared, records) if tables is None else tables,
            charts=self._drawn(self._figures()),
            answer=self._answer(records),
            facts=self._facts,
            waiting=self._waiting_jobs(waiting),
            held=held,
            costs_for=self._costs_for,
            forecast=self._forecast_of_all(),
        )

    def _answer(self, records: Mapping[str, StepRecord]) -> Answer:
        asked = main_comparison(self._prepared.sweep)
        if asked is None:
            return answer_of(None, {}, heading="")
        (table,) = sweep_tables(self._prepared, records, {"answer": asked.spec})
        return answer_of(asked, table.entries, heading=quantity_of(asked.column).heading)

    def _figures(self) -> list[tuple[str, Figure]]:
        return [
            (CAPTIONS[kind], figure)
            for kind in ("accuracy_vs_gmacs", "learning_curves", "class_gain")
            for figure in sweep_figures(self._prepared, kind)
        ]

    def _drawn(self, figures: Sequence[tuple[str, Figure]]) -> list[Chart]:
        """The figures as charts; those with the same data as the last time are not drawn again."""
        before, self._charts = self._charts, {}
        for caption, figure in figures:
            data = (figure.draw.func, figure.draw.args, figure.draw.keywords)
            known = before.get(figure.stem)
            if known is None or known[0] != data:
                chart = Chart(title=figure.title, svg=inline_svg(figure.draw, label=figure.title), caption=caption)
                known = (data, chart)
            self._charts[figure.stem] = known
        return [chart for _, chart in self._charts.values()]

    def _waiting_jobs(self, waiting: set[str]) -> list[Waiting]:
        """The jobs of the run that holds these steps, planned as that run planned them."""
        prepared = self._prepared
        holder = next((lease.owner.id for step_id in waiting if (lease := prepared.store.lease(step_id))), None)
        if holder is None:
            return []
        jobs = [job for job in prepared.plan(own=holder).jobs if waiting.issuperset(job.members)]
        return [
            Waiting(
                members=job.members,
                names=tuple(dict.fromkeys(name_of(step) for step in steps)),
                seeds=tuple(sorted({step.recipe.seed for step in steps if not step.recipe.is_imported})),
                teacher_id=job.teacher_id,
                estimated_s=job.cost,
            )
            for job in jobs
            for steps in [[step for step_id, step in prepared.steps.items() if step_id in job.members]]
        ]

    def _costs_for(self, device: str) -> Costs | None:
        if device not in self._costs:
            name = profile_name_of(device, folder=self._prepared.store.devices) if device else None
            self._costs[device] = None if name is None else self._prepared.costs(Asked(device=name), finished={})
        return self._costs[device]

    def _forecast_of_all(self) -> str:
        """What the whole sweep was estimated to cost, by the device that trained most of it."""
        if self._forecast is None or not self._facts_of_done():
            devices = [facts.done["device"] for facts in self._facts.values() if facts.done and "device" in facts.done]
            costs = self._costs_for(max(devices, key=devices.count)) if devices else None
            costs = costs or self._prepared.costs(finished={})
            sweep = self._prepared.sweep
            count = num_devices(sweep.resources, costs)
            plan = make_plan(sweep, self._prepared.steps, {}, costs=costs, num_devices=count)
            self._forecast = forecast_words(plan.forecast)
        return self._forecast


def page_path(prepared: Prepared) -> Path:
    """The place of a sweep's page, beside its tables."""
    return prepared.store.tables(prepared.sweep.name) / PAGE_FILE


def write_page(
    prepared: Prepared, *, tables: Sequence[Table] | None = None, records: Mapping[str, StepRecord] | None = None
) -> Path:
    """Write the page of a sweep, and return its path. tables, records: from MLflow; None: both are from the store."""
    return PageWriter(prepared).write(tables=tables, records=records)


def report_sweep(prepared: Prepared, *, source: str, tracking_uri: str | None) -> Path:
    """Write the page from the store, or with the numbers of MLflow, which then gets the page too.

    Raises BadInput for another source, and if MLflow does not answer.
    """
    if source == "store":
        return write_page(prepared)
    if source != "mlflow":
        raise BadInput(f"--from: {source!r} is neither mlflow nor store")
    from orchestrator.tracking.publish import Publisher  # MLflow, which the store can do without

    publisher = Publisher(prepared.store, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    path = write_page(prepared, records=publisher.records())
    publisher.log_page(path)
    return path


def write_or_warn(write: Callable[[], object], *, what: str) -> bool:
    """Call ``write``. A page that cannot be written is only a warning: no training and no table may fail for it."""
    try:
        write()
    except Exception as error:  # also of the template and of matplotlib
        logger.warning("%s: the report was not written (%s: %s)", what, type(error).__name__, error)
        return False
    return True
