"""What a job takes along to its workers: everything they need, typed, in one value that Ray carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.plan.job import Job, job_id
from orchestrator.run.lanes.early_stops import JobRule, job_rule
from orchestrator.run.lanes.patience import least_patience
from orchestrator.run.ray_address import joins_cluster
from orchestrator.spec.early_stopping import EarlyStopping
from orchestrator.spec.steps import Step, checkpoint_sha256
from orchestrator.spec.sweep import Resources
from orchestrator.store.store import Store
from reskd.data.annotations import data_root
from reskd.files import Json
from reskd.runtime.execution import Execution
from reskd.training.member_spec import MemberSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class JobConfig:
    """Everything that a trial and its workers need to know about a job.

    Ray pickles it; all machines have the same code.
    """

    id: str
    label: str
    """The job in a few words, for what Ray shows."""
    members: tuple[MemberSpec, ...]
    store: str
    """The store's address: a folder's path or s3://..."""
    owner_id: str
    """The run that holds the leases on the members' steps."""
    teacher: str | None
    """The store's reference to the teacher's weights; None without a teacher."""
    manifest: str
    """The store's reference to the manifest of the members' data."""
    early_stopping: JobRule | None
    root: str
    """The folder of the videos."""
    threads: int
    """Number of torch threads in each worker."""
    loader_workers: int
    """Number of loader processes per worker."""
    execution: Execution
    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    ray_folder: str
    """Folder for the files that Ray writes during the run."""
    patience_s: float
    """Seconds that the job may always go on with nothing; see `lanes.patience`."""
    on_cluster: bool
    """Whether the job runs on an existing cluster, not on a Ray that reskd started."""

    def part(self, step_ids: Sequence[str]) -> JobConfig:
        """A job with some of the members, which has its own id."""
        members = tuple(member for member in self.members if member.step_id in step_ids)
        return replace(self, id=job_id(step_ids), members=members)


def job_config(
    job: Job,
    *,
    label: str,
    steps: Mapping[str, Step],
    store: Store,
    owner_id: str,
    resources: Resources,
    manifest: str,
    provenance: Json,
    early_stopping: EarlyStopping | None = None,
) -> JobConfig:
    """The config of one planned job. ``provenance`` describes the code; it is the same for all jobs."""
    teacher = store.weights_reference(job.teacher_id) if job.teacher_id else job.teacher_checkpoint
    return JobConfig(
        id=job.id,
        label=label,
        members=tuple(
            MemberSpec(
                step_id=step_id,
                recipe=steps[step_id].recipe,
                provenance={
                    "full_id": steps[step_id].full_id,
                    "teacher_id": steps[step_id].teacher_id,
                    **provenance,
                },
                checkpoint_sha256=checkpoint_sha256(steps[step_id]),
            )
            for step_id in job.members
        ),
        store=store.address,
        owner_id=owner_id,
        teacher=str(teacher) if teacher else None,
        manifest=manifest,
        early_stopping=job_rule(early_stopping, job.members, steps) if early_stopping else None,
        root=str(data_root(steps[job.members[0]].recipe.data)),
        threads=max(1, int(resources.cpus_per_worker)),
        loader_workers=max(1, resources.num_loaders),  # so that a decoder that crashes costs a clip, not the worker
        execution=job.execution,
        num_workers=job.workers,
        cpus_per_worker=resources.cpus_per_worker,
        gpus_per_worker=resources.gpus_per_worker,
        ray_folder=str(store.ray_folder(owner_id)),
        patience_s=least_patience(),
        on_cluster=joins_cluster(),
    )
