"""Writes the page of a sweep, report.html: once, or again and again while it trains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from orchestrator.spec.sweep import PlotKind
from orchestrator.store.step_record import StepRecord, last_lines, records_from_store
from orchestrator.tables.table import Figure, Table
from reskd.errors import BadInput
from reskd.files import write_atomic

logger = logging.getLogger(__name__)

CAPTIONS: dict[PlotKind, str] = {
    "accuracy_vs_gmacs": "One mark for each row: its mean over seeds. Small marks are seeds.",
    "learning_curves": "Validation during training, a cheaper evaluation than the final test.",
    "class_gain": "Paired by seed, on the same clips of the final test.",
}


class PageWriter:
    """Writes the page of one sweep. It keeps what does not change: facts of finished steps, drawn charts."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._facts: dict[str, StepFacts] = {}
        self._figures: dict[PlotKind, tuple[set[str], list[Figure], str]] = {}
        self._charts: dict[str, tuple[object, Chart]] = {}
        self._costs: dict[str, Costs | None] = {}
        self._forecasts: dict[str, str] = {}
        self._seen: list[object] = []

    def write(self, *, tables: Sequence[Table] | None = None, records: Mapping[str, StepRecord] | None = None) -> Path:
        """Write the page now, with these tables or new ones from the store."""
        path = page_path(self._prepared)
        write_atomic(path, render(self.page(tables=tables, records=records)))
        return path

    def write_news(self) -> bool:
        """Write the page if a step has changed since the last call. Returns whether it was written."""
        seen = [self._state(step_id) for step_id in self._prepared.steps]
        if seen == self._seen:
            return False
        self.write()
        self._seen = seen
        return True

    def _state(self, step_id: str) -> object:
        """What changes when there is news of a step."""
        store = self._prepared.store
        if step_id in self._done or store.is_finished(step_id):
            return "done"
        return store.epochs(step_id), store.failure(step_id), store.lease(step_id) is not None

    @property
    def _done(self) -> set[str]:
        return {step_id for step_id, facts in self._facts.items() if facts.done is not None}

    def page(self, *, tables: Sequence[Table] | None = None, records: Mapping[str, StepRecord] | None = None) -> Page:
        prepared, store = self._prepared, self._prepared.store
        own = {step_id: self._with_failure(record) for step_id, record in self._records().items()}
        self._facts = read_facts(store, prepared.steps, own, known=self._facts)
        waiting = waiting_steps(prepared, own)
        records = own if records is None else records
        charts, not_drawn = self._drawn()
        return gather(
            prepared.sweep,
            steps=prepared.steps,
            store=store,
            manifests=list(prepared.manifests.values()),
            tables=sweep_tables(prepared, records) if tables is None else tables,
            charts=charts,
            not_drawn=not_drawn,
            answer=self._answer(records),
            facts=self._facts,
            waiting=self._waiting_jobs(waiting),
            held=waiting | {step_id for step_id, record in own.items() if record.state == "running"},
            costs_for=self._costs_for,
            forecast=self._forecast_of_all(),
        )

    def _records(self) -> dict[str, StepRecord]:
        return records_from_store(self._prepared.store, self._prepared.steps)

    def _with_failure(self, record: StepRecord) -> StepRecord:
        """A step that has failed in a run that still trains others is held by it, and does not run any more."""
        failure = self._prepared.store.failure(record.step_id) if record.state == "running" else None
        if failure is None:
            return record
        return replace(record, state="failed", note=str(failure["reason"]), trace=last_lines(failure.get("traceback")))

    def _answer(self, records: Mapping[str, StepRecord]) -> Answer:
        asked = main_comparison(self._prepared.sweep)
        if asked is None:
            return answer_of(None, {}, heading="")
        (table,) = sweep_tables(self._prepared, records, {"answer": asked.spec})
        return answer_of(asked, table.entries, heading=quantity_of(asked.column).heading)

    def _figures_of(self, kind: PlotKind) -> tuple[list[Figure], str]:
        """The figures of one kind, or why there are none. Only learning curves change between two ends of steps."""
        done, known = self._done, self._figures.get(kind)
        if known is None or known[0] != done or kind == "learning_curves":
            try:
                known = done, sweep_figures(self._prepared, kind), ""
            except BadInput as error:  # such as logits that are damaged: the page has more to say
                known = done, [], str(error)
            self._figures[kind] = known
        return known[1], known[2]

    def _drawn(self) -> tuple[list[Chart], list[str]]:
        """The charts, and why some are missing. Those with the same data as the last time are not drawn again."""
        before, self._charts = self._charts, {}
        not_drawn = []
        for kind, caption in CAPTIONS.items():
            figures, reason = self._figures_of(kind)
            titles = {
                f"{key}_{kind}": f"{spec.title}. " for key, spec in self._prepared.sweep.tables.items() if spec.title
            }
            not_drawn += [reason] if reason else []
            for figure in figures:
                data = (figure.draw.func, figure.draw.args, figure.draw.keywords)
                known = before.get(figure.stem)
                if known is None or known[0] != data:
                    words = titles.get(figure.stem, "") + caption
                    chart = Chart(title=figure.title, svg=inline_svg(figure.draw, label=figure.title), caption=words)
                    known = (data, chart)
                self._charts[figure.stem] = known
        return [chart for _, chart in self._charts.values()], not_drawn

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
        """What the whole sweep was estimated to cost, on the device that trained most of it, or else on this one."""
        devices = [str(facts.done["device"]) for facts in self._facts.values() if facts.done and "device" in facts.done]
        device = max(devices, key=devices.count) if devices else ""
        if device not in self._forecasts:
            sweep, steps = self._prepared.sweep, self._prepared.steps
            costs = self._costs_for(device) or self._prepared.costs(finished={})
            plan = make_plan(sweep, steps, {}, costs=costs, num_devices=num_devices(sweep.resources, costs))
            self._forecasts[device] = forecast_words(plan.forecast)
        return self._forecasts[device]


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
