"""Trains a cohort of K >= 1 members epoch by epoch. It resumes from the checkpoints in its sink."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from reskd.checkpoint import Sink
from reskd.data.damage import DamageLog, LostClips
from reskd.data.dataset import Damage, VideoDataset
from reskd.data.decode.presentation import RULES
from reskd.data.loader import EpochLoader, train_groups
from reskd.data.manifest import Manifest
from reskd.data.sampling import num_steps
from reskd.distill.teacher import Teacher, load_teacher
from reskd.errors import BadInput
from reskd.evaluation.clip_logits import ClipLogits
from reskd.files import Json
from reskd.models.imported import Imported, load_imported
from reskd.protocol import Protocol
from reskd.recipe import Recipe
from reskd.runtime.determinism import deterministic
from reskd.runtime.execution import Execution
from reskd.runtime.machine_load import MachineLoad
from reskd.runtime.precision import dtype_of, tf32
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort
from reskd.training.epoch_sums import EpochSums
from reskd.training.fit_progress import OnProgress, Teller
from reskd.training.member import Failure, Member
from reskd.training.member_spec import MemberSpec
from reskd.training.resume import check_same_weights, newest_common
from reskd.training.validation import Judge

logger = logging.getLogger(__name__)


Prune = Callable[[int, Sequence[str]], Mapping[str, Json]]
"""Gets the epoch and the step ids that could continue. Returns step id -> record with a ``reason``, for those to stop.
"""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The argument of `on_epoch_end` on every worker. Epochs count from 1; metrics are by step id."""

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
    execution: Execution | None = None,
    on_epoch_end: Callable[[EpochReport], None] | None = None,
    on_progress: OnProgress | None = None,
    prune: Prune | None = None,
) -> dict[str, Failure | None]:
    """Train the members until each has finished or left. Returns step id -> None, or the failure of a member that left.

    manifest and root define the clips. sink stores all results; a resume starts from it, and members that it holds as
    finished are skipped. execution changes results by rounding only; a resume uses that of its start. on_progress hears
    about once a second where the training is, within epochs too; it must return at once. prune is called on the first
    worker after each epoch's checkpoints and returns the members to stop.

    Raises BadInput before training if recipes, data, teacher and workers do not fit together. Raises TooManyDamaged
    with the list of clips, OSError from the file system, and torch.OutOfMemoryError if several members do not fit into
    memory together; fewer may fit. After any error, the checkpoints stay in the sink.
    """
    workers = workers or Workers()
    _check_workers(specs[0].recipe, workers.world_size)
    finished = workers.from_first([spec.step_id for spec in specs if sink.is_finished(spec.step_id)])
    specs = sorted((spec for spec in specs if spec.step_id not in finished), key=lambda spec: spec.step_id)
    if not specs:
        return dict.fromkeys(finished)
    with (
        _naming_who_is_too_large(specs, workers),
        tf32(allowed=specs[0].recipe.precision == "tf32"),
        ExitStack() as to_the_end,
    ):
        how = execution or Execution()
        run = _Run(
            specs,
            manifest=manifest,
            root=root,
            sink=sink,
            workers=workers,
            teacher_weights=teacher_weights,
            loader_workers=loader_workers,
            execution=how,
            on_progress=on_progress,
            prune=prune,
        )
        run.resume(to_the_end)
        for epoch in range(run.epoch + 1, run.num_epochs + 1):
            metrics = run.train_epoch(epoch)
            if on_epoch_end is not None:
                on_epoch_end(EpochReport(epoch, run.num_epochs, metrics))
            if not run.cohort.live(epoch * run.steps_per_epoch):
                break
    return {**dict.fromkeys(finished), **{member.step_id: member.failure for member in run.cohort.members}}


@contextmanager
def _naming_who_is_too_large(specs: Sequence[MemberSpec], workers: Workers) -> Iterator[None]:
    """Turn out-of-memory into BadInput if there is only one member, since the cohort cannot be split further."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        if len(specs) > 1:
            raise
        raise BadInput(
            f"step {specs[0].step_id} does not fit into {workers.device}, alone and one group at a time ({error}); "
            "lower optim.group_size, model.resolution or data.num_frames, or take a device with more memory"
        ) from error


class _Run:
    """The state of one fit: cohort, data sets, and values that last over epochs."""

    def __init__(
        self,
        specs: Sequence[MemberSpec],
        *,
        manifest: Manifest,
        root: Path,
        sink: Sink,
        workers: Workers,
        teacher_weights: Path | None,
        loader_workers: int,
        execution: Execution,
        on_progress: OnProgress | None,
        prune: Prune | None,
    ) -> None:
        self.ask_prune = prune
        self.specs = {spec.step_id: spec for spec in specs}
        self.sink, self.workers, self.loader_workers = sink, workers, loader_workers
        self.execution = execution
        self.classes = manifest.classes
        self.recipe = specs[0].recipe  # the first recipe stands for all in the fields that a cohort shares
        self.train_set, self.val_set = (
            VideoDataset(
                manifest.split(split),
                root=root,
                spec=self.recipe.data,
                num_classes=len(self.classes),
                split=split,
                data_seed=self.recipe.data_seed,
                num_missing=manifest.num_missing(split),
            )
            for split in ("train", "val")
        )
        optim = self.recipe.optim
        load = partial(
            train_groups,
            self.train_set,
            batch_size=optim.batch_size,
            group_size=optim.group_size,
            rank=workers.rank,
            world_size=workers.world_size,
            loader_workers=loader_workers,
            keep_last=optim.keeps_last,
        )
        self.loader = EpochLoader(lambda epoch: load(epoch=epoch))
        trains = any(spec.recipe.num_epochs for spec in specs)
        self.steps_per_epoch = (
            num_steps(len(manifest.train), optim.batch_size, keep_last=optim.keeps_last) if trains else 0
        )
        self.imported: dict[str, Imported] = {}
        """Step id -> what a file gave to a member that was trained elsewhere."""
        self.cohort = Cohort(
            [self._member(spec) for spec in specs], teacher=self._teacher(teacher_weights), workers=workers
        )
        self.num_epochs = max(spec.recipe.num_epochs for spec in specs)
        self.teller = Teller(on_progress, num_epochs=self.num_epochs)
        self.epoch = 0
        self.damage = DamageLog(
            limit=self.recipe.data.max_damaged,
            num_clips={"train": len(self.train_set), "val": len(self.val_set)},
            workers=workers,
        )
        self.lost = LostClips([self.train_set, self.val_set], sink=sink, workers=workers)
        self.judge = Judge(
            self.val_set, cohort=self.cohort, workers=workers, damage=self.damage, loader_workers=loader_workers
        )
        self.machine = MachineLoad(workers.device)
        self.spent_s = dict.fromkeys(self.specs, (0.0, 0.0))
        """Step id -> (wall seconds of the jobs while the member was in them, its equal share of device seconds)."""

    def _member(self, spec: MemberSpec) -> Member:
        member = Member(
            spec.step_id,
            spec.recipe,
            num_classes=len(self.classes),
            steps_per_epoch=self.steps_per_epoch,
            device=self.workers.device,
        )
        if spec.recipe.is_imported:
            found = load_imported(member.model, spec.recipe, classes=self.classes, sha256=spec.checkpoint_sha256)
            logger.info("step %s: %s", spec.step_id, found.words)
            self.imported[spec.step_id] = found
        return member

    def _teacher(self, weights: Path | None) -> Teacher | None:
        modes = [spec.recipe.kd.teacher_mode for spec in self.specs.values() if spec.recipe.has_teacher]
        if weights is None or not modes:
            return None
        return load_teacher(
            weights, classes=self.classes, mode=modes[0], device=self.workers.device, dtype=dtype_of(self.recipe)
        )

    def resume(self, settings: ExitStack) -> None:
        """Load the newest epoch that all members hold. Rank 0 decides for all workers.

        ``settings`` collects torch settings that must hold for the whole training.
        """
        self.epoch = self.workers.from_first(newest_common(self.sink, self.specs) if self.workers.is_first else 0)
        # A number of threads or an execution that differs from the start would change bits.
        threads, execution = self.workers.from_first(
            self._record_start() if self.workers.is_first else (0, self.execution)
        )
        torch.set_num_threads(threads)
        settings.enter_context(deterministic(self.workers.device, on=execution.deterministic))
        self.cohort.take(execution)
        self.lost.begin()
        if self.epoch:
            self._load()
        check_same_weights(self.cohort, self.workers)
        self._finish_resumed()
        if self.epoch:
            self._prune(self.epoch)  # a crash may have come before all were recorded

    def _record_start(self) -> tuple[int, Execution]:
        """Threads per worker and execution: the current ones, or those of the start that is resumed."""
        now = {
            "workers": self.workers.world_size,
            "threads": torch.get_num_threads(),
            **self.execution.to_record(),
            "reading": RULES,
            "started_ms": int(time.time() * 1000),
            "host": socket.gethostname(),
        }
        self.started = {step_id: self.sink.start(step_id, now, afresh=self.epoch == 0) for step_id in self.specs}
        first = next(iter(self.started.values()))
        if first.get("reading", 1) != RULES:
            logger.warning(
                "this training began with earlier rules of reading videos; from here on, frames that the decoder marks "
                "as damaged are left out, and mirrored, cropped or squeezed videos may be shown in another way "
                "(docs/datasets.md)"
            )
        return int(first["threads"]), Execution.of_record(first)

    def _load(self) -> None:
        for member in self.cohort.members:
            state = self.sink.load(member.step_id, self.epoch)
            member.load_state(state)
            self.damage.add_list(state["damaged"])
            self.spent_s[member.step_id] = (state["wall_s"], state["device_s"])
        logger.info("resumed after epoch %d: %s", self.epoch, ", ".join(self.specs))

    def train_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """Train one epoch, validate if due, and save. Returns metrics of the remaining members by step id."""
        started = time.perf_counter()
        step = first_step = (epoch - 1) * self.steps_per_epoch
        members = self.cohort.live(step)
        self.teller.begin_epoch(epoch, num_steps=self.steps_per_epoch)
        sums = EpochSums(members)
        found: set[Damage] = set()
        batches = self.loader.groups(epoch)
        while True:
            waiting = time.perf_counter()
            groups = next(batches, None)
            sums.data_s += time.perf_counter() - waiting
            if groups is None:
                break
            found.update(damage for group in groups for damage in group.damaged)
            sums.add(self.cohort.step(step, groups))
            step += 1
            self.teller.step(step - first_step, sums, members)
            if not self.cohort.live(step - 1):
                break  # all members have left, so no further clip is needed
        self.lost.share()
        if self.loader_workers and self.cohort.live(step):
            self.loader.prepare(epoch + 1)  # decodes during the validation
        self.damage.share("train", found)
        train_s = time.perf_counter() - started
        system = self.machine.sample()
        metrics = {
            member.step_id: sums.perf(member, train_s, num_steps=self.steps_per_epoch) | system | sums.losses(member)
            for member in members
            if member.failure is None
        }
        self._end_epoch(epoch, members, metrics, started)
        return metrics

    def _end_epoch(
        self, epoch: int, members: list[Member], metrics: dict[str, dict[str, float]], started: float
    ) -> None:
        """Validate members that are due, record failures, save the others, and finish those at their last epoch."""
        due = [
            member
            for member in members
            if member.failure is None and (epoch % member.recipe.eval.every == 0 or epoch == member.recipe.num_epochs)
        ]
        clips = self._logits(due, epoch=epoch)
        judged = self._judge(due, clips, epoch=epoch)
        self._record_failures(epoch, members)
        seconds = time.perf_counter() - started
        staying = [member for member in members if member.failure is None]
        self._spend(staying, seconds)
        for member in staying:
            step_id = member.step_id
            metrics[step_id] |= {f"val/{name}": value for name, value in judged.get(step_id, {}).items()}
            if self.damage.clips:
                metrics[step_id]["data/damaged_clips"] = float(len(self.damage.clips))
            if self.workers.is_first:
                self.sink.save(step_id, epoch, self._state(member), metrics[step_id])
        self._finish(epoch, [member for member in staying if epoch == member.recipe.num_epochs], clips, judged)
        self._prune(epoch)

    def _prune(self, epoch: int) -> None:
        """Stop the members that the caller no longer wants. The first worker decides for all."""
        going_on = {member.step_id: member for member in self.cohort.live(epoch * self.steps_per_epoch)}
        if self.ask_prune is None or not going_on:
            return
        leaving = self.workers.from_first(self.ask_prune(epoch, list(going_on)) if self.workers.is_first else {})
        for step_id, record in leaving.items():
            going_on[step_id].leave(Failure(epoch * self.steps_per_epoch, record["reason"], ""))
            logger.info("step %s: %s", step_id, record["reason"])
            if self.workers.is_first:
                self.sink.prune(step_id, record)

    def _logits(self, members: list[Member], *, epoch: int, protocol: Protocol | None = None) -> ClipLogits | None:
        """Logits of these members, by training's own protocol or that of their test; None without members."""
        if not members:
            return None
        num_clips = -(-len(self.val_set) // self.workers.world_size)
        tell = self.teller.evaluation("validation" if protocol is None else "test", epoch=epoch, num_clips=num_clips)
        return self.judge.logits(members, protocol=protocol or self.judge.one_view, on_group=tell)

    def _judge(
        self, members: list[Member], clips: ClipLogits | None, *, epoch: int, protocol: Protocol | None = None
    ) -> dict[str, dict[str, float]]:
        """Metrics by step id. All workers call it, since a member may leave here."""
        if clips is None:
            return {}
        step, by = epoch * self.steps_per_epoch, protocol or self.judge.one_view
        judged = {member.step_id: self.judge.metrics(member, clips, protocol=by, step=step) for member in members}
        self.teller.judged(judged)
        return judged

    def _record_failures(self, epoch: int, members: list[Member]) -> None:
        for member in members:
            failure = member.failure
            if failure is None or not self.workers.is_first:
                continue
            logger.error("step %s left its cohort: %s", member.step_id, failure.traceback)
            record = {"reason": failure.reason, "traceback": failure.traceback, "epoch": epoch, "step": failure.step}
            self.sink.fail(member.step_id, record)

    def _state(self, member: Member) -> Json:
        wall_s, device_s = self.spent_s[member.step_id]
        return {**member.state(), "damaged": self.damage.to_list(), "wall_s": wall_s, "device_s": device_s}

    def _finish_resumed(self) -> None:
        """Evaluate and finish members without an epoch to train: imported ones, and those that crashed between their
        last checkpoint and DONE."""
        members = [member for member in self.cohort.members if member.recipe.num_epochs == self.epoch]
        if not members:
            return
        started = time.perf_counter()
        clips = self._logits(members, epoch=self.epoch)
        judged = self._judge(members, clips, epoch=self.epoch)
        self._record_failures(self.epoch, members)
        self._spend(members, time.perf_counter() - started)
        self._finish(self.epoch, [member for member in members if member.failure is None], clips, judged)

    def _finish(
        self, epoch: int, members: list[Member], clips: ClipLogits | None, judged: dict[str, dict[str, float]]
    ) -> None:
        """Test members after their last epoch, each by its own protocol, and write their results.

        clips and judged come from the validation just done. For a protocol with one view, that is already the test.
        """
        for protocol in dict.fromkeys(member.recipe.test_protocol for member in members):
            ending = [member for member in members if member.recipe.test_protocol == protocol]
            found, metrics = clips, judged
            if protocol != self.judge.one_view:
                started = time.perf_counter()
                found = self._logits(ending, epoch=epoch, protocol=protocol)
                metrics = self._judge(ending, found, epoch=epoch, protocol=protocol)
                self._record_failures(epoch, ending)
                self._spend(ending, time.perf_counter() - started)
            assert found is not None
            self._write([member for member in ending if member.failure is None], found, metrics, protocol)

    def _spend(self, members: list[Member], seconds: float) -> None:
        """Add wall seconds to each of these members, and its equal share of the device seconds."""
        for member in members:
            wall_s, device_s = self.spent_s[member.step_id]
            device_s += seconds * self.workers.world_size / len(members)
            self.spent_s[member.step_id] = (wall_s + seconds, device_s)

    def _write(
        self, members: list[Member], clips: ClipLogits, judged: Mapping[str, dict[str, float]], protocol: Protocol
    ) -> None:
        if not self.workers.is_first:
            return
        for member in members:
            wall_s, device_s = self.spent_s[member.step_id]
            facts = {
                "started_ms": self.started[member.step_id]["started_ms"],
                "wall_s": round(wall_s, 3),
                "device_s": round(device_s, 3),
                **self.specs[member.step_id].provenance,
            }
            if member.step_id in self.imported:
                facts["imported"] = self.imported[member.step_id].to_dict()
            metrics = judged[member.step_id]
            self.judge.write_results(
                member, clips, metrics, protocol=protocol, sink=self.sink, classes=self.classes, facts=facts
            )


def _check_workers(recipe: Recipe, num_workers: int) -> None:
    optim = recipe.optim
    if optim.num_groups % num_workers:
        raise BadInput(
            f"{num_workers} workers cannot share {optim.num_groups} groups (optim.batch_size {optim.batch_size} / "
            f"optim.group_size {optim.group_size}) evenly; set resources.workers to a divisor of {optim.num_groups}"
        )
