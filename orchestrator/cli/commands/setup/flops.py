"""`reskd flops`: counts the cost of networks without running them, and compares it with published figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.cli.console import console
from orchestrator.cli.options import AsJson

if TYPE_CHECKING:
    from reskd.cost.complexity import Complexity

NUM_CLASSES = 400
"""Number of classes of every network that is counted here. The classifier is far below 0.1 % of any network's cost."""
TOLERANCE = 0.01
"""Largest relative deviation from a published figure that still counts as equal."""

ModelName = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A network, such as swin3d_s. Default: all with a published cost.")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedCost:
    """A published GFLOPs figure and our count."""

    table: str
    row: str
    column: str
    model: str
    resolution: int
    frames: int
    views: int
    published: float
    """The figure that the paper calls GFLOPs: multiply-accumulates without attention's products."""
    gmacs: float
    """Our count by the same rule."""
    gmacs_with_attention: float

    @property
    def deviation(self) -> float:
        """Our count minus the published figure, as a share of the published figure."""
        return self.gmacs / self.published - 1


def flops(
    model: ModelName = None,
    resolution: Annotated[int, typer.Option(min=1, help="Pixels of the square input.")] = 224,
    frames: Annotated[int, typer.Option(min=1, help="Frames of one view.")] = 16,
    views: Annotated[int, typer.Option(min=1, help="Views per video: temporal views times crops.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Count the cost of a network. Without a name, compare our count with every published GFLOPs figure."""
    if model is None:
        costs = list(published_costs())
        if as_json:
            print(json.dumps([{**asdict(cost), "deviation": cost.deviation} for cost in costs], indent=1))
        else:
            _show_published(costs)
        return
    cost = cost_of(model, resolution=resolution, num_frames=frames, num_views=views)
    if as_json:
        print(json.dumps({**asdict(cost), "gmacs_with_attention": cost.gmacs_with_attention}, indent=1))
        return
    table = Table("what", "G", title=f"{model}, {views} x {frames} frames of {resolution} pixels")
    table.add_row("multiply-accumulates and element-wise operations (the paper's GFLOPs)", f"{cost.gmacs:.4g}")
    table.add_row("  of these, convolutions and linear layers", f"{cost.gmacs_layers:.4g}")
    table.add_row("the same with attention's products", f"{cost.gmacs_with_attention:.4g}")
    table.add_row("floating-point operations of all matrix products", f"{cost.gflops:.4g}")
    table.add_row(f"parameters ({NUM_CLASSES} classes)", f"{cost.num_params / 1e9:.4f}")
    console.print(table)


def published_costs() -> Iterator[PublishedCost]:
    """Every published GFLOPs figure of a network that reskd has, with our count."""
    from orchestrator.tables.published import load_published

    for table in load_published().tables.values():
        for row, networks in table.networks.items():
            for column, network in networks.items():
                cost = cost_of(
                    network.model,
                    resolution=network.resolution,
                    num_frames=network.frames,
                    num_views=network.views,
                )
                yield PublishedCost(
                    table=table.key,
                    row=row,
                    column=column,
                    **asdict(network),
                    published=table.rows[row][column],
                    gmacs=cost.gmacs,
                    gmacs_with_attention=cost.gmacs_with_attention,
                )


@cache  # several published figures are of one network
def cost_of(name: str, *, resolution: int, num_frames: int, num_views: int) -> Complexity:
    """The cost of a network, from shapes alone. Raises BadInput if the name is not a model."""
    import torch

    from reskd.cost.gmacs import complexity
    from reskd.models.catalogue import build_model
    from reskd.recipe import ModelSpec

    with torch.device("meta"):
        model = build_model(ModelSpec(name=name), num_classes=NUM_CLASSES, num_frames=num_frames)
    return complexity(model, resolution=resolution, num_frames=num_frames, num_views=num_views)


def _show_published(costs: list[PublishedCost]) -> None:
    table = Table(title="GFLOPs as the paper counts them: multiply-accumulates, without attention's products")
    for name in ("table", "row", "column", "network", "published", "ours", "deviation", "with attention"):
        table.add_column(name, justify="left" if name in ("table", "row", "column", "network") else "right")
    for cost in costs:
        network = f"{cost.model}, {cost.views} x {cost.frames} frames of {cost.resolution}"
        far = abs(cost.deviation) > TOLERANCE
        table.add_row(
            *(cost.table, cost.row, cost.column, network),
            *(f"{cost.published:g}", f"{cost.gmacs:.4g}", f"{100 * cost.deviation:+z.2f} %"),
            f"{cost.gmacs_with_attention:.4g}",
            style="red" if far else None,
        )
    console.print(table)
    num_far = sum(abs(cost.deviation) > TOLERANCE for cost in costs)
    console.print(f"{len(costs) - num_far} of {len(costs)} published figures within {TOLERANCE:.0%}")
