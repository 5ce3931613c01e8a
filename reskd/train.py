"""The one way to train: a cohort of K >= 1 members, epoch by epoch, resumed from what its sink holds."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from reskd.checkpoint import Json, Sink
from reskd.cohort import Cohort
from reskd.data.dataset import Damage, Group, VideoDataset, num_steps, train_groups
from reskd.data.manifest import Manifest
from reskd.errors import BadInput, TooManyDamaged
from reskd.evaluate import ClipLogits, Judged, Protocol, collect_logits
from reskd.finish import done_record, evaluation_record, losses_by_name, weights_content
from reskd.member import Failure, Member, dtype_of
from reskd.metrics import evaluate_scores
from reskd.recipe import Recipe
from reskd.teacher import Teacher, load_teacher
from reskd.throughput import measure_throughput
from reskd.workers import Workers

logger = logging.getLogger(__name__)

TEACHER = "teacher"  # its name among the models of an evaluation; step ids are hexadecimal


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One step to train: its id, its recipe, and facts that its DONE record repeats (commit, identity...)."""

    step_id: str
    recipe: Recipe
    provenance: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What `on_epoch_end` gets on every worker: epoch counted from 1, metrics by step id."""

    epoch: int
    num_epochs: int
    metrics: dict[str, dict[str, float]]


def fit_cohort(
    specs: Sequence[MemberSpec],
    *,
    manifest: Manifest,
    root: Path,
    sink: Sink,
    workers: Workers | None = None,
    teacher_weights: Path | None = None,
    loader_workers: int = 0,
    on_epoch_end: Callable[[EpochReport], None] | None = None,
) -> dict[str, Failure | None]:
    """Train the members until each is finished or has left; step id -> None, or why it left.

    manifest and root say which clips; sink is where everything goes and where a resume starts from. Members that
    the sink holds as finished are skipped. Raises BadInput before any training when recipes, data, teacher
    and workers do not fit each other, TooManyDamaged with the list of clips, and OSError for a file system's
    fault; both leave what was trained in the sink.
    """
    # TF32 would make fp32 mean something else on a GPU than on a CPU.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    workers = workers or Workers()
    finished = workers.from_first([spec.step_id for spec in specs if sink.is_finished(spec.step_id)])
    specs = sorted((spec for spec in specs if spec.step_id not in finished), key=lambda spec: spec.step_id)
    if not specs:
        return dict.fromkeys(finished)
    run = _Run(specs, manifest, root, sink, workers, teacher_weights, loader_workers)
    run.resume()
    for epoch in range(run.epoch + 1, run.num_epochs + 1):
        metrics = run.train_epoch(epoch)
        if on_epoch_end is not None:
            on_epoch_end(EpochReport(epoch, run.num_epochs, metrics))
        if all(member.failure for member in run.cohort.members):
            break
    return {**dict.fromkeys(finished), **{member.step_id: member.failure for member in run.cohort.members}}


class _Run:
    """The state of one fit: cohort, data sets, and what is carried from epoch to epoch."""

    def __init__(
        self,
        specs: Sequence[MemberSpec],
        manifest: Manifest,
        root: Path,
        sink: Sink,
        workers: Workers,
        teacher_weights: Path | None,
        loader_workers: int,
    ) -> None:
        self.specs = {spec.step_id: spec for spec in specs}
        self.sink, self.workers, self.loader_workers = sink, workers, loader_workers
        self.classes = manifest.classes
        self.recipe = specs[0].recipe  # speaks for all where the cohort must agree
        _check_workers(self.recipe, workers.world_size)
        self.train_set, self.val_set = (
            VideoDataset(
                manifest.split(split),
                root=root,
                spec=self.recipe.data,
                num_classes=len(self.classes),
                split=split,
                data_seed=self.recipe.data_seed,
            )
            for split in ("train", "val")
        )
        self.steps_per_epoch = num_steps(len(manifest.train), self.recipe.optim.batch_size)
        self.cohort = Cohort(
            [self._member(spec) for spec in specs], teacher=self._teacher(teacher_weights), workers=workers
        )
        self.num_epochs = max(spec.recipe.optim.epochs for spec in specs)
        self.epoch = 0
        self.protocol = Protocol(num_frames=self.recipe.data.num_frames)
        self.teacher_logits: np.ndarray | None = None
        self.damaged: set[tuple[str, Damage]] = set()
        self.spent_s = dict.fromkeys(self.specs, (0.0, 0.0))

    def _member(self, spec: MemberSpec) -> Member:
        return Member(
            spec.step_id,
            spec.recipe,
            num_classes=len(self.classes),
            steps_per_epoch=self.steps_per_epoch,
            device=self.workers.device,
        )

    def _teacher(self, weights: Path | None) -> Teacher | None:
        modes = [spec.recipe.kd.teacher_mode for spec in self.specs.values() if spec.recipe.has_teacher]
        if weights is None or not modes:
            return None
        return load_teacher(
            weights, classes=self.classes, mode=modes[0], device=self.workers.device, dtype=dtype_of(self.recipe)
        )

    def resume(self) -> None:
        """Go to the newest epoch that all members hold; rank 0 decides, the others follow."""
        self.epoch = self.workers.from_first(self._newest_common() if self.workers.is_first else 0)
        if self.workers.is_first:
            now = {
                "workers": self.workers.world_size,
                "threads": torch.get_num_threads(),
                "started_ms": int(time.time() * 1000),
                "host": socket.gethostname(),
            }
            self.started = {step_id: self.sink.start(step_id, now) for step_id in self.specs}
        if not self.epoch:
            return
        for member in self.cohort.members:
            state = self.sink.load(member.step_id, self.epoch)
            member.load_state(state)
            self.damaged |= {(split, Damage(path, reason)) for split, path, reason in state["damaged"]}
            self.spent_s[member.step_id] = (state["wall_s"], state["device_s"])
        logger.info("resumed after epoch %d: %s", self.epoch, ", ".join(self.specs))
        # A crash between a member's last checkpoint and its DONE leaves only the judging to do.
        self._finish([member for member in self.cohort.members if member.recipe.optim.epochs == self.epoch])

    def _newest_common(self) -> int:
        held = [set(self.sink.epochs(step_id)) for step_id in self.specs]
        epoch = 0
        for candidate in sorted(set.intersection(*held), reverse=True):
            try:
                for step_id in self.specs:
                    self.sink.load(step_id, candidate)
            except BadInput as error:
                logger.warning("%s", error)
                continue
            epoch = candidate
            break
        for step_id in self.specs:
            self.sink.rewind(step_id, epoch)
        return epoch

    def train_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """One epoch, its validation where due, and everything saved; metrics of the members still in."""
        started = time.perf_counter()
        step = first_step = (epoch - 1) * self.steps_per_epoch
        members = self.cohort.live(step)
        sums = {member.step_id: np.zeros(2) for member in members}
        teacher_s = data_s = 0.0
        found: set[tuple[str, Damage]] = set()
        batches = self._batches(epoch)
        while True:
            waiting = time.perf_counter()
            groups = next(batches, None)
            data_s += time.perf_counter() - waiting
            if groups is None:
                break
            found |= {("train", damage) for group in groups for damage in group.damaged}
            report = self.cohort.step(step, groups)
            teacher_s += report.teacher_s
            for step_id, losses in report.losses.items():
                sums[step_id] += losses
            step += 1
        assert step - first_step == self.steps_per_epoch
        self._share_damage(found)
        train_s = time.perf_counter() - started
        perf = self._perf(train_s, teacher_s=teacher_s, data_s=data_s)
        metrics: dict[str, dict[str, float]] = {}
        for member in members:
            if member.failure is not None:
                continue
            recipe, (task_loss, kd_loss) = member.recipe, sums[member.step_id] / self.steps_per_epoch
            metrics[member.step_id] = perf | losses_by_name(
                task_loss, kd_loss, kd_weight=recipe.kd.effective_weight, has_teacher=recipe.has_teacher
            )
        self._end_epoch(epoch, members, metrics, started)
        return metrics

    def _batches(self, epoch: int) -> Iterator[list[Group]]:
        return train_groups(
            self.train_set,
            epoch=epoch,
            batch_size=self.recipe.optim.batch_size,
            group_size=self.recipe.optim.group_size,
            rank=self.workers.rank,
            world_size=self.workers.world_size,
            loader_workers=self.loader_workers,
        )

    def _perf(self, train_s: float, *, teacher_s: float, data_s: float) -> dict[str, float]:
        steps = self.steps_per_epoch
        perf = {
            "perf/clips_per_s": steps * self.recipe.optim.batch_size / train_s,
            "perf/step_ms": 1000 * train_s / steps,
            "perf/data_wait_ms": 1000 * data_s / steps,
        }
        return perf | ({"perf/teacher_ms": 1000 * teacher_s / steps} if teacher_s else {})

    def _share_damage(self, found: set[tuple[str, Damage]]) -> None:
        """Every worker learns what the others could not decode; too much of it stops the run."""
        fresh = set().union(*self.workers.gather(found)) - self.damaged
        self.damaged |= fresh
        if self.workers.is_first:
            for split, damage in sorted(fresh, key=lambda item: item[1].path):
                logger.warning("%s clip does not decode: %s: %s", split, damage.path, damage.reason)
        for split, num_clips in (("train", len(self.train_set)), ("val", len(self.val_set))):
            reasons = {damage.path: damage.reason for name, damage in self.damaged if name == split}
            if len(reasons) > self.recipe.data.max_damaged * num_clips:
                listed = "\n".join(f"  {path}: {reason}" for path, reason in sorted(reasons.items()))
                raise TooManyDamaged(
                    f"{len(reasons)} of {num_clips} {split} clips do not decode, more than data.max_damaged = "
                    f"{self.recipe.data.max_damaged:g} allows; mend or remove them, or raise it:\n{listed}"
                )

    def _end_epoch(
        self, epoch: int, members: list[Member], metrics: dict[str, dict[str, float]], started: float
    ) -> None:
        for member in members:
            if member.failure is not None and self.workers.is_first:
                logger.error("step %s left its cohort: %s", member.step_id, member.failure.traceback)
                failure = member.failure
                self.sink.fail(
                    member.step_id,
                    {"reason": failure.reason, "traceback": failure.traceback, "epoch": epoch, "step": failure.step},
                )
        members = [member for member in members if member.failure is None]
        due = [m for m in members if epoch % m.recipe.eval.every == 0 or epoch == m.recipe.optim.epochs]
        clips = self._validate(due)
        for member in due:
            judged = self._judge(member, clips)
            metrics[member.step_id] |= {f"val/{name}": value for name, value in judged.items()}
        seconds = time.perf_counter() - started
        for member in members:
            wall_s, device_s = self.spent_s[member.step_id]
            device_s += seconds * self.workers.world_size / len(members)
            self.spent_s[member.step_id] = (wall_s + seconds, device_s)
            if self.workers.is_first:
                self.sink.save(member.step_id, epoch, self._state(member), metrics[member.step_id])
        self._finish([member for member in members if epoch == member.recipe.optim.epochs], clips)

    def _state(self, member: Member) -> Json:
        wall_s, device_s = self.spent_s[member.step_id]
        damaged = [[split, damage.path, damage.reason] for split, damage in sorted(self.damaged, key=str)]
        return {**member.state(), "damaged": damaged, "wall_s": wall_s, "device_s": device_s}

    def _validate(self, members: list[Member]) -> ClipLogits | None:
        """Logits of the validation split from these members, and once from the teacher; None without members."""
        if not members:
            return None
        judged = {member.step_id: Judged(member.model, member.recipe.model) for member in members}
        teacher = self.cohort.teacher
        if teacher is not None and self.teacher_logits is None:
            judged[TEACHER] = Judged(teacher.model, teacher.spec)
        clips = collect_logits(
            judged,
            self.val_set,
            workers=self.workers,
            batch_size=self.recipe.optim.group_size,
            dtype=self.cohort.dtype,
            autocast=self.cohort.autocast,
            loader_workers=self.loader_workers,
        )
        self.teacher_logits = clips.logits.get(TEACHER, self.teacher_logits)
        self._share_damage({("val", damage) for damage in clips.damaged})
        return clips

    def _judge(self, member: Member, clips: ClipLogits | None) -> dict[str, float]:
        assert clips is not None
        teacher_logits = self.teacher_logits if member.recipe.has_teacher else None
        return evaluate_scores(clips.logits[member.step_id], clips.targets, teacher_logits=teacher_logits)

    def _finish(self, members: list[Member], clips: ClipLogits | None = None) -> None:
        """Evaluation record, throughput, weights and DONE of members that have had all their epochs."""
        clips = clips or self._validate(members)
        if clips is None or not self.workers.is_first:
            return
        for member in members:
            metrics = self._judge(member, clips)
            record = evaluation_record(clips, protocol=self.protocol, metrics=metrics, num_in_split=len(self.val_set))
            arrays = {"logits": clips.logits[member.step_id], "targets": clips.targets, "indices": clips.indices}
            self.sink.write_evaluation(member.step_id, self.protocol.name, record, arrays)
            speed = measure_throughput(
                member.model,
                resolution=member.recipe.model.resolution,
                num_frames=member.recipe.data.num_frames,
                device=self.workers.device,
            )
            self.sink.write_throughput(member.step_id, speed.to_dict())
            record = done_record(
                member,
                protocol=self.protocol,
                metrics=metrics,
                damaged=self.damaged,
                spent_s=self.spent_s[member.step_id],
                num_workers=self.workers.world_size,
                started_ms=self.started[member.step_id]["started_ms"],
                provenance=self.specs[member.step_id].provenance,
            )
            self.sink.finish(member.step_id, weights_content(member, classes=self.classes), record)


def _check_workers(recipe: Recipe, num_workers: int) -> None:
    optim = recipe.optim
    if optim.num_groups % num_workers:
        raise BadInput(
            f"{num_workers} workers cannot share {optim.num_groups} groups (optim.batch_size {optim.batch_size} / "
            f"optim.group_size {optim.group_size}) evenly; set resources.workers to a divisor of {optim.num_groups}"
        )
