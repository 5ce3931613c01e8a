"""Models trained elsewhere. The networks are built in the other library's layout, or are the other library's own, and
run: what was loaded from their files must compute the same logits.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18
from torchvision.models.video import mvit_v2_s, r3d_18
from torchvision.models.video.swin_transformer import SwinTransformer3d

from reskd.errors import BadInput
from reskd.models.backbones.swin3d import swin_block
from reskd.models.catalogue import build_model
from reskd.models.imported import Imported, load_imported, read_imported
from reskd.models.tensor_file import read_tensor_file
from reskd.models.video_model import VideoModel
from reskd.normalisation import IMAGENET, KINETICS_R3D, Normalisation
from reskd.recipe import DataSpec, ModelSpec, Recipe
from tests.support.foreign_files import Recognizer, save_version_0, save_version_1
from tests.support.forms import forms

CLASSES = ("brush", "climb", "dance", "eat", "fall")


def recipe_of(name: str, path: Path, **fields: Any) -> Recipe:
    return Recipe(data=DataSpec(num_frames=3), model=ModelSpec(name=name), checkpoint=str(path), **fields)


def loaded(name: str, path: Path, *, classes: tuple[str, ...] = CLASSES, **fields: Any) -> tuple[VideoModel, Imported]:
    torch.manual_seed(99)
    recipe = recipe_of(name, path, **fields)
    model = build_model(recipe.model, num_classes=len(classes)).eval()
    return model, load_imported(model, recipe, classes=classes)


def refusal(name: str, path: Path, **fields: Any) -> str:
    with pytest.raises(BadInput) as caught:
        loaded(name, path, **fields)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same_logits(model: VideoModel, expected: Tensor, clips: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(clips).clip_logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("save", [save_version_0, save_version_1])
@pytest.mark.parametrize(("name", "dims"), [("tsn_mini10", 2), ("slowonly_mini10", 3)])
def test_mmactions_file_gives_the_logits_of_the_network_it_was_made_from(name, dims, save, tmp_path: Path):
    torch.manual_seed(0)
    theirs = Recognizer(dims=dims)
    model, found = loaded(name, save(theirs.state_dict(), tmp_path / "epoch_50.pth"))
    clips = torch.randn(2, 4, 3, 32, 32)
    with torch.no_grad():
        assert_same_logits(model, theirs(clips), clips)
    assert (found.layout, found.num_tensors, found.knows_classes) == ("mmaction2", len(theirs.state_dict()), False)
    assert "order of its classes" in found.words


def small_swin(num_classes: int) -> SwinTransformer3d:
    """torchvision's, with the sizes of swin3d_mini and biases that tell one cell from another."""
    sizes: dict[str, Any] = {"patch_size": [2, 4, 4], "embed_dim": 24, "depths": [2, 2, 2], "num_heads": [1, 2, 4]}
    swin = SwinTransformer3d(window_size=[8, 7, 7], block=swin_block, num_classes=num_classes, **sizes).eval()
    for key, parameter in swin.named_parameters():
        if key.endswith("relative_position_bias_table"):
            nn.init.normal_(parameter, std=2.0)
    return swin


def in_mmactions_names(swin: SwinTransformer3d, *, last_norm: str) -> dict[str, Tensor]:
    """Written out by mmaction2's classes: a layer has blocks and the merging after them; fc_cls is the classifier.

    The index of a window's cells is (n, n) there, and flat in torchvision.
    """
    theirs = swin.state_dict()
    state = {}
    for part in ("proj.weight", "proj.bias", "norm.weight", "norm.bias"):
        state[f"backbone.patch_embed.{part}"] = theirs[f"patch_embed.{part}"]
    layers = ("norm1", "attn.qkv", "attn.proj", "norm2")
    for stage in range(3):
        for block in range(2):
            ours, mm = f"features.{2 * stage}.{block}", f"backbone.layers.{stage}.blocks.{block}"
            for tensor in [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]:
                state[f"{mm}.{tensor}"] = theirs[f"{ours}.{tensor}"]
            for kind in ("weight", "bias"):
                state[f"{mm}.mlp.fc1.{kind}"] = theirs[f"{ours}.mlp.0.{kind}"]
                state[f"{mm}.mlp.fc2.{kind}"] = theirs[f"{ours}.mlp.3.{kind}"]
            table = "attn.relative_position_bias_table"
            state[f"{mm}.{table}"] = theirs[f"{ours}.{table}"]
            state[f"{mm}.attn.relative_position_index"] = torch.zeros(392, 392, dtype=torch.int64)
        if stage < 2:
            for tensor in ("reduction.weight", "norm.weight", "norm.bias"):
                state[f"backbone.layers.{stage}.downsample.{tensor}"] = theirs[f"features.{2 * stage + 1}.{tensor}"]
    for kind in ("weight", "bias"):
        state[f"backbone.{last_norm}.{kind}"] = theirs[f"norm.{kind}"]
        state[f"cls_head.fc_cls.{kind}"] = theirs[f"head.{kind}"]
    assert len(state) == len(theirs)
    return state


@pytest.mark.parametrize(("save", "last_norm"), [(save_version_0, "norm"), (save_version_1, "norm2")])
def test_a_swin_of_either_version_gives_the_logits_of_torchvisions(save, last_norm, tmp_path: Path):
    torch.manual_seed(1)
    theirs = small_swin(5)
    model, found = loaded("swin3d_mini", save(in_mmactions_names(theirs, last_norm=last_norm), tmp_path / "swin.pth"))
    clips = torch.randn(1, 4, 3, 64, 64)
    with torch.no_grad():
        assert_same_logits(model, theirs(clips.transpose(1, 2)), clips)
    assert found.layout == "mmaction2"


def of_frames(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """A network of images, its logits averaged over the frames of a clip."""
    return lambda clips: network(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(dim=1)


def of_clips(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda clips: network(clips.transpose(1, 2))


TORCHVISION = {
    "tsn_resnet18": (resnet18, of_frames),
    "tsn_mobilenet_v2": (mobilenet_v2, of_frames),
    "swin3d_mini": (small_swin, of_clips),
    "r3d_18": (r3d_18, of_clips),
}


@pytest.mark.parametrize("name", forms(TORCHVISION, light=["tsn_mobilenet_v2", "swin3d_mini"]))
def test_torchvisions_own_file_is_taken_with_its_classifier(name, tmp_path: Path):
    torch.manual_seed(2)
    build, run = TORCHVISION[name]
    theirs = build(num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    model, found = loaded(name, tmp_path / "theirs.pth")
    clips = torch.randn(1, 8, 3, 64, 64)
    with torch.no_grad():
        assert_same_logits(model, run(theirs)(clips), clips)
    assert (found.layout, found.num_tensors) == ("torchvision", len(theirs.state_dict()))


def test_a_classifier_that_reads_something_else_than_the_last_maps_is_refused(tmp_path: Path):
    with torch.device("meta"):
        shapes = mvit_v2_s(num_classes=5).state_dict()
        own = build_model(ModelSpec(name="mvit_v2_s"), num_classes=5).state_dict()
    small = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in shapes.items()}
    torch.save(small, tmp_path / "mvit.pth")
    with pytest.raises(BadInput, match=r"mvit\.pth: .*its classifier reads the class token"):
        read_imported(recipe_of("mvit_v2_s", tmp_path / "mvit.pth"), own=own, classes=CLASSES)


def test_timms_own_file_is_taken_where_its_classifier_follows_the_last_map(tmp_path: Path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    theirs = timm.create_model("resnet10t", num_classes=5).eval()
    torch.save({"state_dict": theirs.state_dict(), "arch": "resnet10t"}, tmp_path / "timm.pth")
    model, found = loaded("timm:resnet10t", tmp_path / "timm.pth")
    clips = torch.randn(2, 2, 3, 64, 64)
    with torch.no_grad():
        assert_same_logits(model, of_frames(theirs)(clips), clips)
    assert found.layout == "timm"
    torch.save(timm.create_model("convnext_atto", num_classes=5).state_dict(), tmp_path / "next.pth")
    message = refusal("timm:convnext_atto", tmp_path / "next.pth")
    assert "its classifier has 2 tensors before it (head.norm.weight, head.norm.bias)" in message


def test_another_number_of_classes_is_refused_with_both_numbers(tmp_path: Path):
    path = save_version_0(Recognizer(num_classes=400).state_dict(), tmp_path / "k400.pth")
    assert "its classifier has 400 classes and the data set 5 (brush, climb, dance, ...)" in refusal("tsn_mini10", path)


def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path: Path):
    state = Recognizer().state_dict()
    del state["backbone.layer3.0.downsample.bn.weight"], state["backbone.layer2.0.conv2.bn.running_var"]
    state["backbone.layer1.0.conv1.conv.weight"] = torch.zeros(32, 32, 1, 1)
    state["backbone.layer5.0.conv1.conv.weight"] = state["cls_head.other.weight"] = torch.zeros(1)
    path = save_version_0(state, tmp_path / "a.pth")
    model = build_model(ModelSpec(name="tsn_mini10"), num_classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(BadInput) as caught:
        load_imported(model, recipe_of("tsn_mini10", path), classes=CLASSES)
    for part in (
        "2 missing (backbone.layer2.0.bn2.running_var, backbone.layer3.0.downsample.1.weight)",
        "2 unexpected (backbone.layer5.0.conv1.weight, cls_head.other.weight)",
        "1 of another shape (backbone.layer1.0.conv1.weight (32, 32, 1, 1) for (32, 32, 3, 3))",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_2d_networks_file_is_no_trained_3d_network(tmp_path: Path):
    path = save_version_0(Recognizer(dims=2).state_dict(), tmp_path / "flat.pth")
    assert "of another shape (backbone.conv1.weight (32, 3, 5, 5) for (32, 3, 1, 5, 5)" in refusal(
        "slowonly_mini10", path
    )


def test_a_file_without_a_classifier_is_refused(tmp_path: Path):
    backbone = {key: value for key, value in Recognizer().state_dict().items() if key.startswith("backbone.")}
    assert "it holds no classifier" in refusal("tsn_mini10", save_version_0(backbone, tmp_path / "bare.pth"))


def distillation(folder: Path, *, with_classifier: bool) -> tuple[Path, Recognizer, Recognizer]:
    """ResKD's checkpoint of two networks, and the networks, student first."""
    torch.manual_seed(4)
    student, teacher = Recognizer(), Recognizer()
    state = {}
    for path, network in (("low_res_path", student), ("high_res_path", teacher)):
        for key, value in network.backbone.state_dict().items():
            state[f"backbone.{path}.{key}"] = value
    heads = {"fc_cls": student, "fc_cls_t": teacher} if with_classifier else {"fc_cls": student}
    for head, network in heads.items():
        for key, value in network.cls_head.fc_cls.state_dict().items():  # type: ignore[union-attr, operator]
            state[f"cls_head.{head}.{key}"] = value
    return save_version_0(state, folder / "rkd.pth"), student, teacher


def test_of_a_distillation_the_network_that_is_asked_for_is_taken(tmp_path: Path):
    path, student, teacher = distillation(tmp_path, with_classifier=True)
    clips = torch.randn(1, 2, 3, 32, 32)
    for part, network in (("student", student), ("teacher", teacher)):
        model, found = loaded("tsn_mini10", path, checkpoint_part=part)
        with torch.no_grad():
            assert_same_logits(model, network(clips), clips)
        assert f"the {part} of a distillation" in found.words
    assert "say which to take with checkpoint_part: student or teacher" in refusal("tsn_mini10", path)


def test_a_part_that_is_not_there_is_refused(tmp_path: Path):
    path, _, _ = distillation(tmp_path, with_classifier=False)
    assert "the teacher in a distillation's checkpoint may lack it" in refusal(
        "tsn_mini10", path, checkpoint_part="teacher"
    )
    single = save_version_0(Recognizer().state_dict(), tmp_path / "single.pth")
    assert "it holds one network" in refusal("tsn_mini10", single, checkpoint_part="teacher")


def test_numbers_of_numpy_in_the_metadata_do_no_harm(tmp_path: Path):
    meta = {"best_score": np.float64(0.7), "epoch": np.int64(3), "curve": np.arange(3.0), "by": np.str_("x")}
    theirs = Recognizer()
    for old_format in (False, True):
        path = tmp_path / f"numpy{old_format}.pth"
        content = {"meta": meta, "state_dict": theirs.state_dict()}
        torch.save(content, path, _use_new_zipfile_serialization=not old_format)
        if old_format:  # as numpy 1 wrote it
            path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
            assert b"numpy.core.multiarray" in path.read_bytes()
        model, _ = loaded("tsn_mini10", path)
        assert torch.equal(model.classifier.weight, theirs.cls_head.fc_cls.weight)  # type: ignore[union-attr]


class Opened:
    """A pickle that runs a program when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[list[str]]]:
        return subprocess.check_call, (["touch", str(self.file)],)


@pytest.mark.parametrize("meta", [Path("a"), np.array([None, Path("a")])])
def test_objects_of_other_libraries_are_not_opened_and_the_way_out_is_said(meta, tmp_path: Path):
    torch.save({"meta": {"hooks": meta}, "state_dict": Recognizer().state_dict()}, tmp_path / "odd.pth")
    assert "could run code, so it is not opened" in refusal("tsn_mini10", tmp_path / "odd.pth")


def test_nothing_in_a_file_is_run(tmp_path: Path):
    torch.save({"meta": Opened(tmp_path / "ran"), "state_dict": Recognizer().state_dict()}, tmp_path / "bad.pth")
    message = refusal("tsn_mini10", tmp_path / "bad.pth")
    assert (
        "torch.save({'state_dict': torch.load('bad.pth', weights_only=False)['state_dict']}, 'tensors.pth')" in message
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"no pickle", b"", b"PK\3\4 no zip", b"\x80\2 no pickle"])
def test_a_damaged_file_is_refused(content, tmp_path: Path):
    (tmp_path / "damaged.pth").write_bytes(content)
    assert "does not read it" in refusal("tsn_mini10", tmp_path / "damaged.pth")


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "loop.pth", "/nowhere", "a terabyte"])
def test_what_is_no_file_or_larger_than_the_memory_is_refused_at_once(kind, tmp_path: Path):
    path = tmp_path / "loop.pth"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "a terabyte":
        path.touch()
        os.truncate(path, 2**40)
    else:
        path.symlink_to(kind)
    assert str(path) in refusal("tsn_mini10", path)


def test_a_file_of_the_time_before_zip_is_read(tmp_path: Path):
    theirs = Recognizer().state_dict()
    torch.save({"state_dict": theirs}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content, _ = read_tensor_file(tmp_path / "old.pth", field="checkpoint")
    assert content["state_dict"].keys() == theirs.keys()


def test_a_model_gets_the_pixels_that_it_was_trained_with(tmp_path: Path):
    theirs = Recognizer().state_dict()
    model, _ = loaded("tsn_mini10", save_version_0(theirs, tmp_path / "0.pth"))
    assert model.normalisation == IMAGENET
    model, _ = loaded("tsn_mini10", save_version_1(theirs, tmp_path / "1.pth"))
    assert model.normalisation == IMAGENET
    grey = {f"data_preprocessor.{what}": torch.full((3, 1, 1), 127.5) for what in ("mean", "std")}
    path = save_version_0({**theirs, **grey}, tmp_path / "grey.pth")
    model, found = loaded("tsn_mini10", path)
    assert model.normalisation == Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert "pixels by Normalisation(mean=(0.5, 0.5, 0.5)" in found.words
    with pytest.raises(BadInput, match=r"grey\.pth: model\.weights: its network takes pixels with .*0\.5"):
        build_model(ModelSpec(name="tsn_mini10", weights=str(path)), num_classes=5)
    flow = save_version_0({**theirs, "data_preprocessor.mean": torch.zeros(2)}, tmp_path / "flow.pth")
    assert "only networks of RGB frames can be read" in refusal("tsn_mini10", flow)


@pytest.mark.parametrize(("choice", "expected"), [("own", KINETICS_R3D), ("imagenet", IMAGENET)])
def test_torchvisions_own_network_gets_its_own_pixels_unless_told_otherwise(choice, expected, tmp_path: Path):
    with torch.device("meta"):
        shapes = r3d_18(num_classes=5).state_dict()
        own = build_model(ModelSpec(name="r3d_18"), num_classes=5).state_dict()
    small = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in shapes.items()}
    torch.save(small, tmp_path / "r3d.pth")
    recipe = Recipe(model=ModelSpec(name="r3d_18", normalisation=choice), checkpoint=str(tmp_path / "r3d.pth"))
    assert read_imported(recipe, own=own, classes=CLASSES)[1].normalisation == expected


def test_a_reskd_weights_file_must_say_the_same_model_and_classes(tmp_path: Path):
    spec = ModelSpec(name="tsn_mini10")
    model = build_model(spec, num_classes=5)
    path = tmp_path / "weights.pt"
    content = {"model": model.state_dict(), "model_spec": asdict(spec), "classes": list(CLASSES)}
    torch.save(content, path)
    again, found = loaded("tsn_mini10", path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert (found.layout, found.knows_classes) == ("reskd", True)
    torch.save({**content, "model_spec": {**asdict(spec), "resolution": 112}}, path)
    assert "its model.resolution is 112, and 224 here" in refusal("tsn_mini10", path)
    torch.save({**content, "classes": ["climb", "brush", *CLASSES[2:]]}, path)
    assert "its class 0 is 'climb', and 'brush' in the data set" in refusal("tsn_mini10", path)


def test_a_file_that_has_changed_since_the_plan_is_refused(tmp_path: Path):
    path = save_version_0(Recognizer().state_dict(), tmp_path / "a.pth")
    model = build_model(ModelSpec(name="tsn_mini10"), num_classes=5)
    found = load_imported(model, recipe_of("tsn_mini10", path), classes=CLASSES)
    load_imported(model, recipe_of("tsn_mini10", path), classes=CLASSES, sha256=found.sha256)
    save_version_1(Recognizer().state_dict(), path)
    with pytest.raises(BadInput, match=r"a\.pth: its content has changed since the step was planned"):
        load_imported(model, recipe_of("tsn_mini10", path), classes=CLASSES, sha256=found.sha256)
