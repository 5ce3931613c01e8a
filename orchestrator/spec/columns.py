"""The catalogue of table columns: one row for each, asked by all that checks, reads, ranks or shows a metric.

The key of a test's metric is `test/<metric>` or `test/<protocol>/<metric>`; a cost has a name of its own, as `GMACs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from orchestrator.spec.strict import naming
from reskd.cost.complexity import Complexity
from reskd.errors import BadInput
from reskd.files import Json
from reskd.protocol import parse_protocol

Record = Literal["evaluation", "done", "throughput", "imported"]
"""What a value is read from: the metrics of a step's tests, its record of the end, its newest measured speed, or an
imported measurement of a network, which belongs to no step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """What a column shows and where its values are from."""

    heading: str
    unit: str
    """Decimals go by it: see orchestrator.stats.estimates.DECIMALS. What is shown in % is recorded as a share of 1."""
    record: Record
    read: Callable[[Json], float | None] | None = None
    """The value in a `done` or `throughput` record; None where an older record lacks it. The metrics of a test have no
    reader: they are taken over with the names that they are recorded by."""
    higher_is_better: bool = False
    is_per_clip: bool = False
    """A cost of all the views that the step's protocol takes of a clip."""
    needs_teacher: bool = False
    """Only students have it."""
    published_as: str | None = None
    """Column whose published figures stand beside this one; None: its own."""

    @property
    def is_test(self) -> bool:
        return self.record == "evaluation"

    @property
    def depends_on_protocol(self) -> bool:
        return self.is_test or self.is_per_clip

    @property
    def ranks_rows(self) -> bool:
        """Whether rows are compared by it: a result of the test that every row can have."""
        return self.is_test and not self.needs_teacher

    def shown(self, value: float) -> float:
        """A recorded value in the unit that tables have."""
        return 100.0 * value if self.unit == "%" else value


COLUMNS: dict[str, Quantity] = {
    # Metrics of the test.
    "test/top1": Quantity(heading="top-1 (%)", unit="%", record="evaluation", higher_is_better=True),
    "test/top5": Quantity(heading="top-5 (%)", unit="%", record="evaluation", higher_is_better=True),
    "test/mAP": Quantity(heading="mAP (%)", unit="%", record="evaluation", higher_is_better=True),
    "test/agreement": Quantity(
        heading="agreement with teacher (%)", unit="%", record="evaluation", higher_is_better=True, needs_teacher=True
    ),
    # Costs.
    "GMACs": Quantity(
        heading="GMACs a clip",
        unit="G",
        record="done",
        read=lambda done: done["complexity"]["gmacs"],
        is_per_clip=True,
    ),
    "GMACs_with_attention": Quantity(
        heading="GMACs with attention",
        unit="G",
        record="done",
        read=lambda done: Complexity(**done["complexity"]).gmacs_with_attention,
        is_per_clip=True,
    ),
    "GFLOPs": Quantity(
        heading="GFLOPs a clip",
        unit="G",
        record="done",
        read=lambda done: done["complexity"]["gflops"],
        is_per_clip=True,
    ),
    "params_M": Quantity(
        heading="parameters (M)",
        unit="M",
        record="done",
        read=lambda done: done["complexity"]["num_params"] / 1e6,
    ),
    "clips/s": Quantity(
        heading="clips/s",
        unit="clips/s",
        record="throughput",
        read=lambda speed: speed["clips_per_s"],
        higher_is_better=True,
    ),
    "bench/clips/s": Quantity(
        heading="clips/s, measured alone",
        unit="clips/s",
        record="imported",
        higher_is_better=True,
        published_as="clips/s",
    ),
}
TEST_METRICS = tuple(key.removeprefix("test/") for key, quantity in COLUMNS.items() if quantity.is_test)
COSTS = tuple(key for key, quantity in COLUMNS.items() if not quantity.is_test)


def protocol_in(key: str) -> str | None:
    """The protocol that a metric's key names, test/<protocol>/<metric>; None of test/<metric>: each step's own."""
    parts = key.split("/")
    return parts[1] if parts[0] == "test" and len(parts) == 3 else None


def plain_key(key: str) -> str:
    """`test/val-f32-v10x3/top1` -> `test/top1`; the key of a cost as it is."""
    return f"test/{key.split('/')[-1]}" if key.startswith("test/") else key


def quantity_of(key: str) -> Quantity:
    """The catalogue's row for a metric; one without heading and unit where the metric is recorded but is no column."""
    found = COLUMNS.get(plain_key(key))
    return found or Quantity(heading="", unit="", record="evaluation" if key.startswith("test/") else "done")


def check_column(key: str, where: str) -> None:
    """BadInput unless a table may have the column: a cost, test/<metric> or test/<protocol>/<metric>."""
    if key in COSTS:
        return
    if not key.startswith("test/"):
        raise BadInput(f"{where} has {key!r}; a column is test/<metric> or one of {', '.join(COSTS)}")
    _, *protocols, metric = key.split("/")
    if metric not in TEST_METRICS:
        raise BadInput(f"{where} has {key!r}; the metrics of test/ are {', '.join(TEST_METRICS)}")
    if len(protocols) > 1:
        raise BadInput(f"{where} has {key!r}; write test/<metric> or test/<protocol>/<metric>")
    for name in protocols:
        with naming(f"{where} has {key!r}"):
            parse_protocol(name)


def main_metric(columns: Iterable[str]) -> str | None:
    """The first column that rows are ranked by, which a plot, a saved view or the registry is about; None without one.

    The agreement with a teacher is passed over: it is no accuracy, and a row without a teacher has none.
    """
    return next((key for key in columns if quantity_of(key).ranks_rows), None)


def read_costs(record: Literal["done", "throughput"], content: Json) -> dict[str, float]:
    """Every cost that such a record of a step holds, by the key of its column."""
    found = {
        key: quantity.read(content)
        for key, quantity in COLUMNS.items()
        if quantity.record == record and quantity.read is not None
    }
    return {key: float(value) for key, value in found.items() if value is not None}
