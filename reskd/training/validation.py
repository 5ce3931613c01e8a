"""Evaluates the members of a cohort during training, and writes the results of finished steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reskd.checkpoint import Sink
from reskd.data.damage import DamageLog
from reskd.data.dataset import VideoDataset
from reskd.data.val_cache import GroupCache, cache_limit
from reskd.evaluation.clip_logits import ClipLogits, Judged, collect_logits
from reskd.evaluation.record import evaluation_metrics, evaluation_record
from reskd.files import Json
from reskd.protocol import Protocol
from reskd.recipe import ModelSpec
from reskd.runtime.workers import Workers
from reskd.throughput.measure import measure_throughput
from reskd.training.cohort import Cohort
from reskd.training.member import Failure, Member
from reskd.training.step_result import done_record, weights_content

TEACHER = "teacher"  # its name among the models of an evaluation; step ids are hexadecimal


class Judge:
    """Evaluates members on the validation split. The frozen teacher's logits are computed once per protocol."""

    def __init__(
        self, dataset: VideoDataset, *, cohort: Cohort, workers: Workers, damage: DamageLog, loader_workers: int
    ) -> None:
        self._dataset, self._cohort, self._workers, self._damage = dataset, cohort, workers, damage
        self._loader_workers = loader_workers
        self._teacher_logits: dict[Protocol, np.ndarray] = {}
        data = cohort.members[0].recipe.data
        self.one_view = Protocol(num_frames=data.num_frames, stride=data.stride)
        """The protocol of validations during training."""
        self._cache = GroupCache(cache_limit(workers.world_size))

    def logits(
        self, members: list[Member], *, protocol: Protocol, on_group: Callable[[int], None] | None = None
    ) -> ClipLogits:
        """Logits of these members on every clip, on every worker. A collective call.

        ``on_group`` gets the number of clips that this worker has finished.
        """
        dataset = self._dataset.judged_by(protocol)
        judged = {member.step_id: Judged(member.model, self._seen(member.recipe.model, dataset)) for member in members}
        teacher = self._cohort.teacher
        if teacher is not None and protocol not in self._teacher_logits:
            judged[TEACHER] = Judged(teacher.model, self._seen(teacher.spec, dataset))
        clips = collect_logits(
            judged,
            dataset,
            workers=self._workers,
            batch_size=members[0].recipe.optim.group_size,
            dtype=self._cohort.dtype,
            autocast=self._cohort.autocast,
            loader_workers=self._loader_workers,
            on_group=on_group,
            cache=self._cache if protocol == self.one_view else None,
        )
        if TEACHER in clips.logits:
            self._teacher_logits[protocol] = clips.logits[TEACHER]
        self._damage.share("val", clips.damaged)
        return clips

    def _seen(self, spec: ModelSpec, dataset: VideoDataset) -> ModelSpec:
        """The model with the input that it gets of this data set's crops."""
        return spec.at_crop(dataset.spec.crop_size, trained_at=self._dataset.spec.crop_size)

    def metrics(self, member: Member, clips: ClipLogits, *, protocol: Protocol, step: int) -> dict[str, float]:
        """The member's `evaluation_metrics`; if its logits are not finite, none, and it is marked as failed."""
        teacher_logits = self._teacher_logits.get(protocol) if member.recipe.has_teacher else None
        metrics = evaluation_metrics(clips, member.step_id, teacher_logits=teacher_logits)
        if metrics is None:
            reason = f"its validation logits are not finite after step {step}; lower optim.lr or set optim.clip_norm"
            member.failure = Failure(step, reason, reason)
        return metrics or {}

    def write_results(
        self,
        member: Member,
        clips: ClipLogits,
        metrics: dict[str, float],
        *,
        protocol: Protocol,
        sink: Sink,
        classes: tuple[str, ...],
        facts: Json,
    ) -> None:
        """Write evaluation record, throughput, weights, and DONE last. Rank 0 only. `facts` are added to DONE."""
        recipe = member.recipe
        record = evaluation_record(clips, self._dataset, protocol=protocol, metrics=metrics)
        sink.write_evaluation(member.step_id, protocol.name, record, clips.arrays(member.step_id))
        resolution = self._seen(recipe.model, self._dataset.judged_by(protocol)).input_size
        speed = measure_throughput(
            member.model,
            resolution=resolution,
            num_frames=recipe.data.num_frames,
            device=self._workers.device,
        )
        sink.write_throughput(member.step_id, speed.to_dict())
        record = done_record(
            member,
            protocol=protocol,
            resolution=resolution,
            metrics=metrics,
            frames_used=clips.frames_used.get(member.step_id),
            damaged=self._damage.to_list(),
            num_workers=self._workers.world_size,
            facts=facts,
        )
        sink.finish(member.step_id, weights_content(member, classes=classes), record)
