"""The places of a lane's workers: Ray's placement groups, which keep CPUs and GPUs for them.

Ray frees a placement group when the driver that belongs to it ends, not when the trial that made it dies. So places
carry their trial's name, and the run's own process frees those of dead trials. Ray Train's own answer to this, a
process for each lane, asks the State API of the dashboard, which is off in a Ray of our own.
"""

from __future__ import annotations

import uuid
from typing import Any

import ray
from ray._private.state import actors
from ray._raylet import PlacementGroupID
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
    PlacementGroupHandle,
)
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

PREFIX = "reskd-lane"


class NamedPlaces(WorkerGroup):
    """Train's group of workers, whose places carry the name of the trial that made them."""

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> PlacementGroupHandle:
        """As Train's own for CPUs and GPUs, with a name."""
        return DefaultPlacementGroupHandle(
            placement_group(
                [worker_group_context.resources_per_worker] * worker_group_context.num_workers,
                strategy=worker_group_context.placement_strategy,
                bundle_label_selector=worker_group_context.label_selector,
                name=f"{PREFIX} {ray.get_runtime_context().get_actor_id()} {uuid.uuid4().hex[:8]}",
            )
        )


def free_places_of_dead_trials() -> int:
    """Free them on the connected Ray, whoever's they were. Returns their number."""
    num_freed = 0
    for group_id, facts in placement_group_table().items():
        prefix, _, rest = facts["name"].partition(" ")
        if prefix != PREFIX or facts["state"] == "REMOVED":
            continue
        if actors(rest.partition(" ")[0]).get("State") == "DEAD":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))
            num_freed += 1
    return num_freed
