"""Early exit: order, pooling, gates, the loss and what it costs, each known another way."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reskd.checkpoint import FolderSink
from reskd.cost.gmacs import complexity, mean_complexity
from reskd.data.manifest import build_manifest
from reskd.distill.teacher import load_teacher
from reskd.errors import BadInput
from reskd.models.backbones.frame_exit import Exits, FrameExitModel, visiting_order
from reskd.models.backbones.tsn import Backbone
from reskd.models.catalogue import build_model
from reskd.recipe import DataSpec, ModelSpec, OptimSpec, Recipe
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec

STEP = "0123456789abcdef"


def mini(*, num_frames: int = 4, num_classes: int = 5, exit_beta: float = 0.2) -> FrameExitModel:
    torch.manual_seed(0)
    spec = ModelSpec(name="frameexit_mini10", dropout=0.0, exit_beta=exit_beta)
    model = build_model(spec, num_classes=num_classes, num_frames=num_frames)
    assert isinstance(model, FrameExitModel)
    return model


def identity_net(*, num_exits: int) -> FrameExitModel:
    """The backbone passes its two channels on, so that features are what the test writes down."""
    backbone = Backbone(nn.Sequential(), 2)
    return FrameExitModel(backbone, num_classes=2, dropout=0.0, num_exits=num_exits, exit_beta=0.2).eval()


def features_of(values: list[tuple[float, float]]) -> Tensor:
    return torch.tensor(values)[:, :, None, None]


def test_frames_are_visited_from_coarse_to_fine():
    # Of ten frames the first five are those of the official configuration: 5 0 9 2 7.
    assert visiting_order(10) == (5, 0, 9, 2, 7, 1, 3, 6, 8, 4)
    assert visiting_order(4) == (2, 0, 3, 1)
    assert visiting_order(2) == (1, 0)
    assert visiting_order(1) == (0,)


@pytest.mark.parametrize("num_frames", range(1, 40))
def test_every_frame_is_visited_once(num_frames):
    assert sorted(visiting_order(num_frames)) == list(range(num_frames))


def test_pooled_features_and_exits_worked_out_by_hand():
    model = identity_net(num_exits=3)
    with torch.no_grad():
        for number, classifier in enumerate((*model.early_classifiers, model.classifier), start=1):
            classifier.weight.copy_(number * torch.eye(2))
            classifier.bias.zero_()
    # Visited 1, 0, 2: maxima (3, 1), (3, 4), (5, 4); exit t multiplies by t.
    exits = model.exits(features_of([(2.0, 4.0), (3.0, 1.0), (5.0, 0.0)]), num_frames=3)
    assert exits.logits[0].tolist() == [[3.0, 1.0], [6.0, 8.0], [15.0, 12.0]]


@pytest.mark.parametrize(
    ("gates", "taken"),
    [([1.0, 1.0], 0), ([-1.0, 0.5], 1), ([-1.0, -0.1], 2), ([0.0, -1.0], 0), ([-9.0, 0.0], 1)],
)
def test_the_first_open_gate_decides_and_the_last_exit_needs_none(gates, taken):
    assert Exits(torch.zeros(1, 3, 2), torch.tensor([gates])).taken.tolist() == [taken]


def test_a_gate_sees_the_features_so_far_and_those_before():
    model = identity_net(num_exits=2)
    gate = model.gates[0]
    exits = model.exits(features_of([(0.0, 3.0), (2.0, 1.0)]), num_frames=2)

    def reduced(values: list[float]) -> Tensor:
        first, second = gate.reduce[0], gate.reduce[2]
        return F.relu(second.weight @ F.relu(first.weight @ torch.tensor(values) + first.bias) + second.bias)

    # The middle frame of two comes first; before it there is nothing, which is zero.
    expected = gate.decide.weight[0] @ torch.cat((reduced([2.0, 1.0]), reduced([0.0, 0.0]))) + gate.decide.bias[0]
    torch.testing.assert_close(exits.gates[0, 0], expected)


def test_the_exit_taken_decides_a_clips_logits_in_evaluation_and_the_last_one_in_training():
    model = mini().eval()
    clips = torch.randn(3, 4, 3, 24, 24)
    exits = model.exits(model.forward_features(clips), num_frames=4)
    for opened in range(4):
        with torch.no_grad():
            for number, gate in enumerate(model.gates):
                gate.decide.weight.zero_()
                gate.decide.bias.fill_(1.0 if number == opened else -1.0)
        output = model(clips)
        torch.testing.assert_close(output.clip_logits, exits.logits[:, opened])
        assert model.frames_used(output).tolist() == [opened + 1] * 3
    model.train()
    output = model(clips)
    expected = model.exits(output.features, num_frames=4).logits[:, -1]
    torch.testing.assert_close(output.clip_logits, expected)


def test_clips_of_one_batch_leave_at_exits_of_their_own():
    model = identity_net(num_exits=2)
    with torch.no_grad():
        gate = model.gates[0]
        for layer in (gate.reduce[0], gate.reduce[2]):  # the gate opens where channel 0 is above 1
            layer.weight.zero_()
            layer.weight[0, 0] = 1
            layer.bias.zero_()
        gate.decide.weight.zero_()
        gate.decide.weight[0, 0] = 1
        gate.decide.bias.fill_(-1)
    # Clips of two frames; frame 1 is visited first.
    features = features_of([(0.0, 0.0), (2.0, 0.0), (9.0, 0.0), (0.5, 0.0)])
    exits = model.exits(features, num_frames=2)
    assert exits.taken.tolist() == [0, 1]
    _, clip_logits = model.forward_head(features, num_frames=2)
    torch.testing.assert_close(clip_logits, torch.stack((exits.logits[0, 0], exits.logits[1, 1])))


def test_the_loss_equals_the_sums_written_out():
    model = mini(exit_beta=0.6).double()
    with torch.no_grad():
        for classifier in (*model.early_classifiers, model.classifier):
            classifier.weight.mul_(20)  # so that some exits are good enough and others not
    labels = torch.tensor([0, 3, 1])
    output = model(torch.randn(3, 4, 3, 24, 24, dtype=torch.float64))
    exits = model.exits(output.features, num_frames=4)
    task, gates, labels_of_gates = 0.0, 0.0, set()
    for clip, label in enumerate(labels.tolist()):
        for t in range(1, 5):
            p = exits.logits[clip, t - 1].detach().softmax(0)
            loss = -math.log(p[label])
            task += loss / 12
            if t <= 3:
                good = loss < 0.6 * math.exp(t / 2)
                labels_of_gates.add(good)
                opening = 1 / (1 + math.exp(-exits.gates[clip, t - 1].item()))
                gates -= math.log(opening if good else 1 - opening) / 9
    assert labels_of_gates == {True, False}
    assert model.task_loss(output, labels).item() == pytest.approx(task + gates, abs=1e-12)


def test_gates_do_not_teach_the_classifiers_to_be_worse():
    """The gates' own labels are constants: no gradient of a gate's loss reaches a classifier."""
    model = mini()
    output = model(torch.randn(2, 4, 3, 24, 24))
    labels = torch.tensor([0, 1])
    exits = model.exits(output.features, num_frames=4)
    cross_entropy = sum(F.cross_entropy(exits.logits[:, exit], labels) for exit in range(4)) / 4
    classifiers = [classifier.weight for classifier in (*model.early_classifiers, model.classifier)]
    expected = torch.autograd.grad(cross_entropy, classifiers, retain_graph=True)
    got = torch.autograd.grad(model.task_loss(output, labels), classifiers)
    torch.testing.assert_close(got, expected)


def test_the_task_loss_reaches_every_parameter_and_falls():
    model = mini().train()
    clips, labels = torch.randn(4, 4, 3, 24, 24), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for step in range(6):
        optimizer.zero_grad()
        loss = model.task_loss(model(clips), labels)
        loss.backward()
        if step == 0:
            unused = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
            assert unused == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_other_models_task_loss_is_the_cross_entropy_to_the_bit():
    torch.manual_seed(0)
    model = build_model(ModelSpec(name="tsn_mini10", dropout=0.0), num_classes=5)
    output, labels = model(torch.randn(3, 2, 3, 24, 24)), torch.tensor([0, 4, 2])
    assert torch.equal(model.task_loss(output, labels), F.cross_entropy(output.clip_logits, labels))
    assert model.frames_used(output) is None


@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_a_forward_of_some_frames_costs_the_backbone_and_the_exits_passed(num_frames):
    backbone = nn.Conv2d(3, 2, kernel_size=1, bias=False)
    model = FrameExitModel(Backbone(nn.Sequential(backbone), 2), num_classes=7, dropout=0, num_exits=4, exit_beta=0.1)
    gate = 2 * (2 * 64 + 64 * 64) + 128  # both inputs through two layers, then one
    num_gates = min(num_frames, 3)
    by_hand = num_frames * (6 * 6 * 3 * 2) + 2 * num_frames * 2 * 7 + num_gates * gate
    assert complexity(model, resolution=6, num_frames=num_frames).gmacs_layers * 1e9 == pytest.approx(by_hand)


def test_the_mean_cost_weighs_exits_by_the_clips_that_took_them():
    model = mini()
    one, three, four = (complexity(model, resolution=24, num_frames=n) for n in (1, 3, 4))
    mean = mean_complexity(model, resolution=24, clips_by_frames={1: 5, 3: 2, 4: 1})
    assert mean.gmacs == pytest.approx((5 * one.gmacs + 2 * three.gmacs + four.gmacs) / 8)
    assert mean.gflops == pytest.approx((5 * one.gflops + 2 * three.gflops + four.gflops) / 8)
    assert mean.num_params == four.num_params
    assert one.gmacs < mean.gmacs < four.gmacs


def test_bad_numbers_of_frames_are_refused():
    with pytest.raises(BadInput, match=r"data\.num_frames is 1; an early exit needs at least 2"):
        mini(num_frames=1)
    with pytest.raises(BadInput, match="clips of 5 frames, but this network was trained with 4 exits"):
        mini().eval()(torch.randn(1, 5, 3, 24, 24))
    with pytest.raises(BadInput, match=r"model\.exit_beta must be positive, got 0"):
        ModelSpec(exit_beta=0)


def test_a_cohort_trains_judges_and_costs_it_beside_a_tsn(demo_data: DataSpec, tmp_path: Path):
    optim = OptimSpec(lr=0.05, epochs=1, batch_size=12, group_size=4)
    plain = Recipe(data=demo_data, model=ModelSpec(name="tsn_mini10", resolution=16), optim=optim)
    # Losses start near ln 6 = 1.79; the limits of three gates are 1.65, 2.72 and 4.48.
    early = replace(plain, model=ModelSpec(name="frameexit_mini10", resolution=16, exit_beta=1.0))
    sink = FolderSink(tmp_path / "runs")
    manifest = build_manifest(demo_data)
    outcome = fit_cohort(
        [MemberSpec("a" * 16, plain), MemberSpec(STEP, early)],
        manifest=manifest,
        root=Path(str(demo_data.root)),
        sink=sink,
    )
    assert outcome == {"a" * 16: None, STEP: None}
    done = sink.done(STEP) or {}
    arrays = sink.logits(STEP, done["protocol"])
    used = arrays["frames_used"]
    assert used.shape == (len(manifest.val),)
    assert set(used.tolist()) <= {1.0, 2.0, 3.0, 4.0}
    assert done["metrics"]["test/frames_used"] == pytest.approx(used.mean())
    assert {int(frames): clips for frames, clips in done["clips_by_frames"].items()} == {
        int(frames): int(clips) for frames, clips in zip(*np.unique(used, return_counts=True), strict=True)
    }
    # The file alone gives the same model, and its cost by hand is what DONE says.
    loaded = load_teacher(sink.weights(STEP), classes=manifest.classes, mode="eval", device=torch.device("cpu")).model
    costs = {frames: complexity(loaded, resolution=16, num_frames=frames).gmacs for frames in range(1, 5)}
    assert done["complexity"]["gmacs"] == pytest.approx(np.mean([costs[int(frames)] for frames in used]))
    assert sink.evaluations(STEP)[done["protocol"]]["metrics"]["frames_used"] == pytest.approx(used.mean())
    other = sink.done("a" * 16) or {}
    assert "test/frames_used" not in other["metrics"]
    assert "clips_by_frames" not in other
    assert "frames_used" not in sink.logits("a" * 16, other["protocol"])
