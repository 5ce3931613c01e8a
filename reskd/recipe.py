"""A Recipe describes one training. Teachers, students and baselines all have this type.

Every field counts in a step's identity unless its metadata says ``identity=False``; such a field cannot change what is
trained. A sentence under each field describes it; checks are beside it. Fields of a single method, such as KDSpec and
those that ModelSpec inherits, are in that method's file in reskd/methods/.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from reskd.errors import BadInput
from reskd.methods.distillation import KDLevel, KDSpec, TeacherMode
from reskd.methods.fields import added, not_identity, require
from reskd.methods.frame_exit import FrameExitFields
from reskd.protocol import Protocol, parse_views
from reskd.text import file_name_fault, invisible_letter, is_inside

__all__ = [
    "CLASS_ORDER",
    "NAMED_WEIGHTS",
    "RECIPE_VERSION",
    "AnnotationFormat",
    "Checkpoint",
    "DataSpec",
    "EvalSpec",
    "KDLevel",
    "KDSpec",
    "ModelSpec",
    "OptimSpec",
    "Precision",
    "Recipe",
    "Resample",
    "TeacherMode",
    "without_teacher",
    "without_training",
]

AnnotationFormat = Literal["csv", "folders", "activitynet", "fcvid", "kinetics", "mini_kinetics", "ssv2", "ssv1"]
Resample = Literal["antialias", "opencv"]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "fp64"]

RECIPE_VERSION = 1
"""Increase it by hand if the same recipe would train something else than before."""

CLASS_ORDER = "a file of another program does not say the order of its classes, which must be the data set's"
"""What every user of an imported model is told."""

HEAD_STD = 0.01
"""Standard deviation of a new classifier's weights, if a recipe has no other."""

NAMED_WEIGHTS = ("imagenet_v1", "kinetics_v1")
"""Values of model.weights that name torchvision's files. All others, except `none`, are paths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSpec:
    """Which clips are used, and how a clip becomes one uint8 crop."""

    name: str = not_identity("videos")
    """The data set's name, and its folder in $RESKD_DATA if `root` is not given."""
    root: str | None = not_identity(None)
    """Folder on this machine that contains the data set. Annotation paths are relative to it."""
    annotations: AnnotationFormat = not_identity("csv")
    """Annotation format. It is not part of the identity, since the manifest holds what the annotations say. csv:
    path,label[,label...]; folders: train and val are folders with a folder of videos for each class; activitynet: train
    and val name its JSON, whose subsets are the splits; fcvid, kinetics, mini_kinetics, ssv2, ssv1: see
    docs/datasets.md. Videos are found by name anywhere under the root."""
    train: str = not_identity("train.csv")
    """Annotation file (or folder) of the training split, relative to the root."""
    val: str = not_identity("val.csv")
    """Annotation file (or folder) of the validation split, relative to the root."""
    classes: str | None = not_identity(None)
    """File with one class name per line, in order. Without it, the classes are the sorted training labels."""
    allow_missing: float = not_identity(0.0)
    """How many videos of a split may be missing: a share if below 1, else a number. Missing videos are counted, named
    and left out. The manifest holds the clips that exist."""
    allow_outside: bool = not_identity(False)
    """Whether `train`, `val`, `classes` and the paths in annotations may lead out of the root: absolute ones, or with
    `..`. Links inside the root may always lead anywhere."""
    max_damaged: float = not_identity(0.01)
    """Largest share of a split that may fail to decode. Above it, the run stops."""
    decode: Literal["pyav", "decord", "torchcodec"] = "pyav"
    """Decode backend. It is part of the identity, since backends may return different frames. pyav is exact; decord and
    torchcodec refuse files that they would read wrongly. Folders of .jpg or .png frames are read in the same way by
    all."""
    num_frames: int = 16
    """Number of frames in a clip."""
    sampling: Literal["segments", "dense"] = added("segments")
    """segments: one frame from each of num_frames uniform segments of the video (TSN, TSM). dense: num_frames frames,
    frame_stride apart, from one place in the video (SlowOnly, Swin)."""
    frame_stride: int = added(1)
    """For dense only: distance between two frames of a clip."""
    short_videos: Literal["loop", "stretch"] = added("loop")
    """For segments only: frames of a video that has fewer than num_frames. loop: it starts again at its end. stretch:
    frames are repeated in place, so that their order stays, as in the official code."""
    short_side: int = 256
    """Shorter side of a frame in pixels, before cropping."""
    resample: Resample = added("antialias")
    """Bilinear resize of decoded frames and of their crops. antialias: each pixel is a mean over all pixels that it
    covers. opencv: of its four neighbours only, as OpenCV and the official code do, so that fine patterns alias."""
    crop_size: int = 224
    """Side of the square crop in pixels. Every model gets its input from this crop."""
    crop: Literal["multi_scale", "random_resized"] = added("multi_scale")
    """Crop in training. multi_scale: sides from crop_scales, at one of 13 places. random_resized: 8 to 100 % of the
    area, with sides from 3:4 to 4:3, at any place."""
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """For multi_scale only: sides as shares of the shorter side."""
    flip: bool = True
    """Mirror half of the training clips. Set it to false if direction matters for the label."""

    def __post_init__(self) -> None:
        fault = file_name_fault(self.name)
        require(fault is None, "data.name", self.name, f"a folder's name (data.root is for paths), but {fault}")
        require(self.num_frames >= 1, "data.num_frames", self.num_frames, "at least 1")
        require(self.crop_size >= 1, "data.crop_size", self.crop_size, "at least 1")
        require(
            self.short_side >= self.crop_size,
            "data.short_side",
            self.short_side,
            f"at least data.crop_size ({self.crop_size})",
        )
        require(
            bool(self.crop_scales) and all(0 < scale <= 1 for scale in self.crop_scales),
            "data.crop_scales",
            self.crop_scales,
            "one or more shares in (0, 1]",
        )
        require(0 <= self.max_damaged <= 1, "data.max_damaged", self.max_damaged, "a share in [0, 1]")
        if self.crop != "multi_scale":
            default = (1.0, 0.875, 0.75, 0.66)
            must = f"left out with data.crop {self.crop}; only multi_scale has scales"
            require(self.crop_scales == default, "data.crop_scales", self.crop_scales, must)
        is_limit = self.allow_missing >= 0 and (self.allow_missing < 1 or float(self.allow_missing).is_integer())
        must = "a share in [0, 1), or a whole number of videos"
        require(is_limit, "data.allow_missing", self.allow_missing, must)
        must = "at least 1" if self.sampling == "dense" else "1 with data.sampling segments; only dense has a stride"
        is_right = self.frame_stride >= 1 if self.sampling == "dense" else self.frame_stride == 1
        require(is_right, "data.frame_stride", self.frame_stride, must)
        must = "loop with data.sampling dense, whose clips wrap around in a shorter video"
        require(self.sampling != "dense" or self.short_videos == "loop", "data.short_videos", self.short_videos, must)

    def refuse_outside(self) -> None:
        """Raise BadInput for an annotation file that leads out of the root, unless `allow_outside`.

        It is asked where annotations are to be read, not of every spec: the store may hold older ones.
        """
        for name, path in (("data.train", self.train), ("data.val", self.val), ("data.classes", self.classes)):
            hidden = None if path is None else invisible_letter(path)
            require(hidden is None, name, path, f"a path of visible letters, but it holds {hidden}")
            must = "a path inside data.root (a link there may lead out of it), or allowed with data.allow_outside: true"
            require(path is None or self.allow_outside or is_inside(path), name, path, must)

    @property
    def stride(self) -> int | None:
        """Distance between frames of a dense clip; None if frames come from segments."""
        return self.frame_stride if self.sampling == "dense" else None

    @property
    def stretches(self) -> bool:
        """Whether frames of a short video are repeated in place."""
        return self.short_videos == "stretch"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec(FrameExitFields):
    """A network and its input resolution."""

    name: str = "tsn_resnet50"
    """A key of MODELS in reskd/models/catalogue.py, or timm:<name>."""
    resolution: int = 224
    """Side of the square input in pixels. The crop is resized to it bilinearly."""
    weights: str = "none"
    """Initial weights: none; imagenet_v1 (torchvision's IMAGENET1K_V1, inflated for SlowOnly and Swin); kinetics_v1
    (torchvision's KINETICS400_V1, for its 3-D networks); or the path of a file."""
    normalisation: Literal["own", "imagenet"] = not_identity("own")
    """Mean and deviation of the pixels that it gets. own: those that its pretrained weights were trained with, which
    are not ImageNet's for r3d_18, mvit_v2_s and many of timm's; then their values count in the identity. Without
    pretrained weights they are ImageNet's too."""
    dropout: float = 0.5
    """Dropout rate on the clip's features, before the last linear layer."""
    drop_path: float | None = added(None)
    """Rate of stochastic depth in the last block; it rises linearly from the first. null: the network's own, 0.1 for
    Video Swin. Only swin3d_* and mvit_v2_s may have another."""
    head_std: float = added(HEAD_STD)
    """Standard deviation of the last linear layer's initial weights; its biases start at 0. The official code has 0.001
    for 2-D networks and 0.01 for 3-D ones."""
    antialias: bool = False
    """Whether the resize to `resolution` uses antialiasing; false in the official code."""
    enlarge_to: int | None = added(None)
    """Enlarge the frames of `resolution` bilinearly to this many pixels before the network; null: do not enlarge."""
    stride: int | None = added(None)
    """Stride of the last map in pixels. null: the network's own. A 2-D ResNet's 32 may become 16; its max pooling then
    has stride 1."""

    def __post_init__(self) -> None:
        require(self.resolution >= 1, "model.resolution", self.resolution, "at least 1")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")
        is_rate = self.drop_path is None or 0 <= self.drop_path < 1
        require(is_rate, "model.drop_path", self.drop_path, "in [0, 1) or null")
        require(self.head_std > 0, "model.head_std", self.head_std, "positive")
        is_larger = self.enlarge_to is None or self.enlarge_to > self.resolution
        require(
            is_larger, "model.enlarge_to", self.enlarge_to, f"more than model.resolution ({self.resolution}) or null"
        )
        # Otherwise a value without effect would give another step id for the same training.
        require(self.stride != 32, "model.stride", self.stride, "16, or null for the network's own 32")
        self.check_exits(self.name)

    @property
    def words(self) -> str:
        """The model in words, such as `tsn_resnet50 at 112 px`; where set, with `enlarged to 224 px` and `stride
        16`."""
        enlarged = [] if self.enlarge_to is None else [f"enlarged to {self.enlarge_to} px"]
        stride = [] if self.stride is None else [f"stride {self.stride}"]
        more = ", ".join([*enlarged, *stride])
        return f"{self.name} at {self.resolution} px" + (f" ({more})" if more else "")

    @property
    def input_size(self) -> int:
        """Side in pixels of the square that the network receives."""
        return self.resolution if self.enlarge_to is None else self.enlarge_to

    def at_crop(self, crop_size: int, *, trained_at: int) -> ModelSpec:
        """The model with an input in the same ratio to another crop, rounded to whole pixels.

        Both crops are sides in pixels. A network sees things as large as in training, in a wider or narrower view.
        """
        if crop_size == trained_at:
            return self
        enlarged = None if self.enlarge_to is None else round(self.enlarge_to * crop_size / trained_at)
        return replace(self, resolution=round(self.resolution * crop_size / trained_at), enlarge_to=enlarged)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimSpec:
    """Optimiser, schedule and batch."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum; for SGD only."""
    nesterov: bool = False
    """Nesterov momentum; for SGD only."""
    backbone_lr: float = added(1.0)
    """Learning rate of the backbone as a multiple of lr; the classifier has lr."""
    bias_lr: float = added(1.0)
    """Learning rate of the biases of convolutions and linear layers, as a multiple of the rate that they would have."""
    weight_decay: float = 1e-4
    decay: Literal["all", "weights", "official_swin"] = added("all")
    """Parameters with weight decay. all: every parameter, also batch norm and biases, as for the official students.
    weights: only those with two or more dimensions, as for the official 2-D teachers. official_swin: all but the tables
    of relative position biases, which have the rate lr too, whatever backbone_lr is."""
    schedule: Literal["cosine", "step", "onecycle"] = "cosine"
    """cosine: falls to zero, epoch by epoch. step: multiplied by gamma at each milestone. onecycle: rises from lr/25,
    then falls to lr/250000."""
    milestones: tuple[int, ...] = added(())
    """For step only: epochs, counted from 0, at whose start the rate falls."""
    gamma: float = added(0.1)
    """For step only: factor of the rate at each milestone."""
    warmup_epochs: float = 0.0
    """cosine, step: epochs of a linear rise from a tenth of lr. onecycle: epochs of the rise; 0 means 30 % of all
    epochs."""
    epochs: int = 50
    batch_size: int = 64
    """Number of clips in one training step, over all workers."""
    group_size: int = 8
    """Number of clips that share batch-norm statistics. It must divide batch_size."""
    last_batch: Literal["drop", "keep"] = added("drop")
    """Clips of an epoch that are left over after its last whole batch. drop: they are not trained. keep: they are one
    more step of smaller groups, filled up to equal groups by the epoch's first clips, as in the official code."""
    running_stats: Literal["mean", "first"] = "mean"
    """New running statistics of batch norm. mean: the mean over the step's groups. first: those of group 0 (official
    code)."""
    clip_norm: float | None = None
    """Largest L2 norm of the gradient; null: no clipping."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "optim.lr", self.lr, "positive")
        require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "in [0, 1)")
        require(
            not (self.nesterov and self.momentum == 0),
            "optim.momentum",
            self.momentum,
            "positive with optim.nesterov",
        )
        require(self.backbone_lr > 0, "optim.backbone_lr", self.backbone_lr, "positive")
        require(self.bias_lr > 0, "optim.bias_lr", self.bias_lr, "positive")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "at least 0")
        require(self.epochs >= 1, "optim.epochs", self.epochs, "at least 1")
        require(
            0 <= self.warmup_epochs < self.epochs,
            "optim.warmup_epochs",
            self.warmup_epochs,
            f"in [0, optim.epochs = {self.epochs})",
        )
        self._check_milestones()
        require(self.group_size >= 1, "optim.group_size", self.group_size, "at least 1")
        require(
            self.batch_size >= 1 and self.batch_size % self.group_size == 0,
            "optim.batch_size",
            self.batch_size,
            f"a multiple of optim.group_size ({self.group_size})",
        )
        require(self.clip_norm is None or self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "positive or null")

    def _check_milestones(self) -> None:
        if self.schedule == "step":
            in_order = list(self.milestones) == sorted(set(self.milestones))
            in_range = all(0 < milestone < self.epochs for milestone in self.milestones)
            must = f"one or more epochs in (0, optim.epochs = {self.epochs}), rising, with optim.schedule step"
            require(bool(self.milestones) and in_order and in_range, "optim.milestones", self.milestones, must)
        else:
            must = f"empty with optim.schedule {self.schedule}; only step has milestones"
            require(not self.milestones, "optim.milestones", self.milestones, must)
            must = f"0.1 with optim.schedule {self.schedule}; only step has milestones to fall at"
            require(self.gamma == 0.1, "optim.gamma", self.gamma, must)
        require(0 < self.gamma <= 1, "optim.gamma", self.gamma, "in (0, 1]")

    @property
    def num_groups(self) -> int:
        return self.batch_size // self.group_size

    @property
    def keeps_last(self) -> bool:
        """Whether an incomplete last batch of an epoch is trained."""
        return self.last_batch == "keep"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalSpec:
    """How a step is validated and tested. These fields do not change what is trained."""

    every: int = not_identity(1)
    """Validate after this many epochs each time. The last epoch is always validated."""
    metric: Literal["top1", "mAP"] = not_identity("top1")
    """The metric that `reskd status` shows."""
    views: str = not_identity("1x1")
    """Temporal views x crops of the final test, such as 10x3. Validations during training use one view."""
    twice: bool = not_identity(False)
    """Take every temporal view of the final test twice: from the middle and from the start of its segments."""
    short_side: int | None = not_identity(None)
    """Shorter side of a frame in the final test, in pixels; null: data.short_side."""
    crop_size: int | None = not_identity(None)
    """Side of the crops in the final test, in pixels; null: data.crop_size. The network's input grows with it: a
    network for 224 of a crop of 224 pixels gets 256 of a crop of 256."""

    def __post_init__(self) -> None:
        require(self.every >= 1, "eval.every", self.every, "at least 1")
        parse_views(self.views, what="eval.views")
        for name, value in (("eval.short_side", self.short_side), ("eval.crop_size", self.crop_size)):
            require(value is None or value >= 1, name, value, "at least 1 or null")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A teacher from a finished step's `weights.pt`, which says itself which network and classes it holds.

    A teacher from any other file is a Recipe with a `checkpoint`.
    """

    checkpoint: str
    """Path of the file. Its content's hash counts in the identity."""


def require_mean(kd: KDSpec, model: ModelSpec, *, who: str) -> None:
    """Raise BadInput if clip logits before dropout are asked of a network that has none. ``who``: what names it."""
    must = f"true with {who} {model.name}; its clip logits are those of one exit, not the mean of its frame logits"
    require(kd.through_dropout or not model.has_exits, "kd.through_dropout", kd.through_dropout, must)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that determines the result of one step's training."""

    data: DataSpec = field(default_factory=DataSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    kd: KDSpec = field(default_factory=KDSpec)
    optim: OptimSpec = field(default_factory=OptimSpec)
    eval: EvalSpec = field(default_factory=EvalSpec)
    # Checkpoint first: a mapping with nothing but `checkpoint` fits both, and is a weights.pt.
    teacher: Checkpoint | Recipe | None = None
    """The teacher, as a recipe or a file. It is trained first and then frozen."""
    checkpoint: str | None = added(None)
    """File of a model that was trained elsewhere, with its classifier: the model is taken from it, not trained. `model`
    says which network it is. The file's content counts in the identity, not its path. The order of its classes cannot
    be checked: it must be the data set's."""
    checkpoint_part: Literal["student", "teacher"] | None = added(None)
    """Which network of a distillation's checkpoint, which holds both; null: the file holds one network."""
    precision: Precision = "fp32"
    """fp32: TF32 off. tf32: on a CPU the same as fp32. bf16: autocast. fp16: autocast with a loss scale; a training
    step whose gradient overflows is skipped (on a CPU a hundred times slower). fp64: for numerical checks."""
    data_seed: int = 0
    """Seed of the clips' order, sampled frames, crops and flips."""
    model_seed: int = 0
    """Seed of the initial weights and of dropout."""

    def __post_init__(self) -> None:
        for name, seed in (("data_seed", self.data_seed), ("model_seed", self.model_seed)):
            require(seed >= 0, name, seed, "at least 0")
        is_right = self.is_imported or self.checkpoint_part is None
        require(is_right, "checkpoint_part", self.checkpoint_part, "null without a checkpoint")
        if self.has_teacher and self.teacher is None:
            raise BadInput(f"kd.level is {self.kd.level!r} but there is no teacher; name one or set kd.level to none")
        require(
            self.model.resolution <= self.data.crop_size,
            "model.resolution",
            self.model.resolution,
            f"at most data.crop_size ({self.data.crop_size}), which every input is made from",
        )
        require_mean(self.kd, self.model, who="model.name")
        if isinstance(self.teacher, Recipe):
            require_mean(self.kd, self.teacher.model, who="the teacher")
            require(self.teacher.kd.level == "none", "teacher.kd.level", self.teacher.kd.level, "none")
            require(
                self.kd.level == "none" or self.teacher.model.resolution <= self.data.crop_size,
                "teacher.model.resolution",
                self.teacher.model.resolution,
                f"at most the student's data.crop_size ({self.data.crop_size})",
            )
        crop_size, short_side = self.eval.crop_size or self.data.crop_size, self.eval.short_side or self.data.short_side
        must = f"at least the crop of the final test ({crop_size}: eval.crop_size, else data.crop_size)"
        require(short_side >= crop_size, "the short side of the final test (eval.short_side)", short_side, must)

    @property
    def seed(self) -> int:
        """The seed to show. A sweep's seed sets both; of a recipe in Python with two, it is the model's."""
        return self.model_seed

    @property
    def test_protocol(self) -> Protocol:
        """The protocol of the final test: the frames and sampling of training, with the views and sizes of `eval`."""
        views, crops = parse_views(self.eval.views, what="eval.views")
        protocol = Protocol(
            num_frames=self.data.num_frames,
            num_views=views,
            num_crops=crops,
            stride=self.data.stride,
            twice=self.eval.twice,
            short_side=self.eval.short_side,
            crop_size=self.eval.crop_size,
        )
        return protocol.without_sizes(short_side=self.data.short_side, crop_size=self.data.crop_size)

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher is used. With kd.level none, the field `teacher` has no effect."""
        return self.kd.level != "none" and not self.is_imported

    @property
    def is_imported(self) -> bool:
        """Whether the model was trained elsewhere and is only tested here."""
        return self.checkpoint is not None

    @property
    def num_epochs(self) -> int:
        """Number of epochs of training; 0 for an imported model."""
        return 0 if self.is_imported else self.optim.epochs


def without_teacher(recipe: Recipe) -> Recipe:
    """The recipe with default KD fields and without a teacher."""
    return replace(recipe, kd=KDSpec(), teacher=None)


def without_training(recipe: Recipe) -> Recipe:
    """The recipe of an imported model, with defaults in every field that only training uses.

    Batch and group size are kept: tests take a group of clips at a time, and workers share the groups.
    """
    data, model, optim = DataSpec(), ModelSpec(), recipe.optim
    return replace(
        without_teacher(recipe),
        data=replace(recipe.data, crop=data.crop, crop_scales=data.crop_scales, flip=data.flip),
        model=replace(recipe.model, weights="none", head_std=model.head_std),
        optim=OptimSpec(batch_size=optim.batch_size, group_size=optim.group_size),
        data_seed=0,
        model_seed=0,
    )
