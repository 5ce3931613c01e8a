"""What stands between a lane and Ray Train's own code. These tests fail where another Ray is made otherwise."""

from __future__ import annotations

import inspect

import ray.train
from ray.train.torch import TorchConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy, ScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from orchestrator.run.lanes.lane import Lane, Shape
from orchestrator.run.lanes.places import NamedPlaces
from orchestrator.run.lanes.process_group import COLLECTIVE_TIMEOUT_S, ProcessGroup, ProcessGroupBackend
from orchestrator.run.lanes.train_run import FixedMachine, LaneCallback, LaneController, LaneTrainer
from orchestrator.run.lanes.worker import serve

SCALING = ray.train.ScalingConfig(num_workers=2)


def callbacks(*, on_cluster: bool) -> list[type]:
    lane = Lane(Shape(2, 1, 0), lambda lane: None)
    trainer = LaneTrainer(lane, on_cluster=on_cluster, scaling_config=SCALING, backend_config=ProcessGroup("gloo"))
    return [type(one) for one in trainer._create_default_callbacks()]


def test_a_lane_has_all_of_trains_callbacks_but_those_whose_processes_it_does_not_want() -> None:
    rays = [type(one) for one in DataParallelTrainer(serve, scaling_config=SCALING)._create_default_callbacks()]
    for dropped in (PlacementGroupCleanerCallback, DatasetsCallback):
        assert rays.count(dropped) == 1
        rays.remove(dropped)
    assert callbacks(on_cluster=False) == [*rays, LaneCallback]
    assert callbacks(on_cluster=True) == [*rays, LaneCallback]


def test_the_places_of_workers_are_made_where_a_lane_gives_them_a_name() -> None:
    """Ray's group still asks for them in this method alone, and its controller takes the group from the attribute."""
    assert "self._create_placement_group(" in inspect.getsource(WorkerGroup._start_impl)
    made = inspect.getsource(WorkerGroup).count(" placement_group(\n")
    assert made == inspect.getsource(WorkerGroup._create_placement_group).count(" placement_group(\n") == 1
    assert "self.worker_group_cls.create(" in inspect.getsource(TrainController)
    assert issubclass(LaneController.worker_group_cls, NamedPlaces)
    ours, theirs = (
        list(inspect.signature(kind._create_placement_group).parameters) for kind in (NamedPlaces, WorkerGroup)
    )
    assert ours == theirs


def test_train_makes_its_controller_in_the_method_that_a_lane_replaces() -> None:
    made = inspect.getsource(DataParallelTrainer._initialize_and_run_controller)
    assert "(TrainController)" in made
    assert "self._initialize_and_run_controller(" in inspect.getsource(DataParallelTrainer.fit)
    assert inspect.iscoroutinefunction(TrainController.run)


def test_on_a_ray_of_our_own_no_autoscaler_is_told_of_the_workers() -> None:
    """Ray's policy still speaks to the autoscaler in these two places alone; the third only where the first spoke."""
    assert "scaling_policy=create_scaling_policy(" in inspect.getsource(DataParallelTrainer.fit)
    names = [
        f"{kind.__name__}.{name}"
        for kind in (ScalingPolicy, FixedScalingPolicy)
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and "resource_request(" in inspect.getsource(method)
    ]
    senders = {name.split(".")[1] for name in names} - {"_get_num_workers_for_resource_request"}
    assert senders == {
        *("after_controller_start", "_maybe_send_resource_request", "_send_resource_request"),
        *("_cancel_resource_request", "before_controller_shutdown", "before_controller_abort"),
        *("make_decision_for_non_running_worker_group", "make_decision_for_running_worker_group"),
    }
    policy, theirs = FixedMachine(SCALING), FixedScalingPolicy(SCALING)
    policy.after_controller_start(None)
    decision = policy.make_decision_for_non_running_worker_group()
    assert (decision.num_workers, decision.resources_per_worker) == (
        2,
        theirs.scaling_config._resources_per_worker_not_none,
    )
    policy.before_controller_abort()
    assert policy._coordinator_client is None


def test_the_process_group_waits_as_long_and_sees_as_many_gpus_as_rays_own() -> None:
    assert TorchConfig().timeout_s == COLLECTIVE_TIMEOUT_S
    assert TorchConfig().backend_cls.share_cuda_visible_devices is ProcessGroupBackend.share_cuda_visible_devices
