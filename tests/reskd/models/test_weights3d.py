"""Weights of 3-D networks: 2-D ImageNet files inflated, Kinetics files as they are. The files are made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, SwinTransformer, get_weight, resnet18, resnet50, swin_b, swin_s, swin_t
from torchvision.models.video import mvit_v2_s, r3d_18, swin3d_b, swin3d_s, swin3d_t
from torchvision.models.video.swin_transformer import SwinTransformer3d

from reskd.errors import BadInput
from reskd.models.backbones.swin3d import swin_block, swin_model
from reskd.models.catalogue import MODELS, build_model
from reskd.models.video_model import VideoModel
from reskd.models.weights import _load_content
from reskd.recipe import ModelSpec
from tests.support.forms import forms

pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # on shapes alone, as meant

BUILDERS = {"swin3d_t": swin3d_t, "swin3d_s": swin3d_s, "swin3d_b": swin3d_b, "r3d_18": r3d_18, "mvit_v2_s": mvit_v2_s}


def build(name: str, *, weights: str = "none", device: str = "cpu") -> VideoModel:
    with torch.device(device):
        return build_model(ModelSpec(name=name, weights=weights), num_classes=400)


def constant_state(network: nn.Module) -> dict[str, Tensor]:
    """Another constant in each tensor; as a view of one number each it makes a small file."""
    state = network.state_dict()
    values = {key: torch.full((), number, dtype=value.dtype) for number, (key, value) in enumerate(state.items())}
    return {key: values[key].expand(value.shape) for key, value in state.items()}


def zero_state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        state = BUILDERS[name]().state_dict()
    return {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder of downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def url(name: str, weights: str) -> str:
    return get_weight(MODELS[name].weights[weights]).url


def put(folder: Path, url: str, state: Mapping[str, Tensor]) -> Path:
    path = folder / Path(url).name
    torch.save(dict(state), path)
    return path


@pytest.mark.parametrize(
    "name",
    forms([name for name, network in MODELS.items() if "kinetics_v1" in network.weights], light=["swin3d_t", "r3d_18"]),
)
def test_a_kinetics_file_of_torchvisions_names_and_shapes_fits(cache: Path, name: str) -> None:
    put(cache, url(name, "kinetics_v1"), zero_state(name))
    build(name, weights="kinetics_v1", device="meta")  # shapes alone: raises where anything is missing or left over


def test_a_kinetics_file_fills_the_whole_backbone_and_leaves_the_classifier(cache: Path) -> None:
    state = constant_state(r3d_18())
    put(cache, url("r3d_18", "kinetics_v1"), state)
    model = build("r3d_18", weights="kinetics_v1")
    loaded = model.backbone.state_dict()
    assert {key for key in state if not key.startswith("fc.")} == set(loaded)
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert not model.classifier.bias.any()


def test_a_kinetics_file_with_another_window_is_reported_tensor_by_tensor(cache: Path) -> None:
    state = zero_state("swin3d_t")
    state["features.0.0.attn.relative_position_bias_table"] = torch.zeros(7 * 13 * 13, 3)
    del state["norm.bias"]
    path = put(cache, url("swin3d_t", "kinetics_v1"), state)
    with pytest.raises(BadInput) as caught:
        build("swin3d_t", weights="kinetics_v1", device="meta")
    for part in (
        f"{path}: model.weights does not fit swin3d_t",
        "1 missing (backbone.norm.bias)",
        "1 of another shape (backbone.features.0.0.attn.relative_position_bias_table (1183, 3) for (2535, 3))",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "weights", "others"),
    [("slowonly_resnet50", "kinetics_v1", "imagenet_v1, none"), ("r3d_18", "imagenet_v1", "kinetics_v1, none")],
)
def test_weights_that_torchvision_does_not_have_are_refused_with_those_it_has(name, weights, others) -> None:
    with pytest.raises(BadInput, match=f"'{weights}' does not exist for '{name}'; .* choose {others} or a file"):
        build(name, weights=weights, device="meta")


@pytest.mark.slow  # two of torchvision's largest files are made
def test_inflated_filters_add_up_over_time_to_the_2d_ones_and_are_the_same_in_every_frame(cache: Path) -> None:
    torch.manual_seed(0)
    state = resnet50().state_dict()
    put(cache, ResNet50_Weights.IMAGENET1K_V1.url, state)
    loaded = build("slowonly_resnet50", weights="imagenet_v1").backbone.state_dict()
    lengths = {key: value.shape[2] for key, value in loaded.items() if value.ndim == 5}
    stages = {3: 6, 4: 3}  # blocks of the last two
    longer = {f"layer{stage}.{block}.conv1.weight" for stage, blocks in stages.items() for block in range(blocks)}
    assert {key for key, length in lengths.items() if length == 3} == longer
    for key, value in loaded.items():
        if key in lengths:
            torch.testing.assert_close(value.sum(dim=2), state[key])
            assert torch.equal(value[:, :, 0], value[:, :, -1])
        else:
            assert torch.equal(value, state[key])


def test_on_a_video_that_stands_still_the_inflated_network_sees_what_the_2d_one_sees(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flat = resnet18().eval()
    for module in flat.modules():  # statistics that are not those of a fresh batch norm
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(flat.state_dict(), tmp_path / "resnet18.pth")
    still = build("slowonly_resnet18", weights=str(tmp_path / "resnet18.pth")).eval()
    reference = build("tsn_resnet18", weights=str(tmp_path / "resnet18.pth")).eval()
    frame = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        # Eight filters of three frames: only the middle one of 17 frames has no padded zero within their reach.
        middle = still.forward_features(frame.expand(1, 17, -1, -1, -1))[8:9]
        torch.testing.assert_close(middle, reference.forward_features(frame), rtol=1e-4, atol=1e-5)


def test_a_2d_filter_of_another_size_is_reported(tmp_path: Path) -> None:
    state = constant_state(resnet18())
    state["conv1.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(BadInput, match=r"conv1.weight \(64, 3, 1, 5, 5\) for \(64, 3, 1, 7, 7\)"):
        build("slowonly_resnet18", weights=str(tmp_path / "wrong.pth"), device="meta")


@pytest.mark.parametrize(
    ("name", "flat"),
    forms([("swin3d_t", swin_t), ("swin3d_s", swin_s), ("swin3d_b", swin_b)], light=[("swin3d_t", swin_t)]),
)
def test_a_2d_swins_file_fits_the_3d_one(cache: Path, name: str, flat: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        state = flat().state_dict()
    small = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}
    put(cache, url(name, "imagenet_v1"), small)
    build(name, weights="imagenet_v1", device="meta")
    small["features.1.0.attn.relative_position_bias_table"] = torch.zeros(169, 5)
    del small["features.7.1.norm2.bias"]
    put(cache, url(name, "imagenet_v1"), small)
    with pytest.raises(BadInput) as caught:
        build(name, weights="imagenet_v1", device="meta")
    for part in ("1 missing (backbone.features.6.1.norm2.bias)", "bias_table (169, 5) for (2535, "):
        assert part in str(caught.value)


def in_swins_own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Swin-T of torchvision as github.com/microsoft/Swin-Transformer names it, read off its modules."""
    theirs = {"features.0.0": "patch_embed.proj", "features.0.2": "patch_embed.norm", "norm": "norm", "head": "head"}
    for stage, depth in enumerate((2, 2, 6, 2)):
        for block in range(depth):
            ours, own = f"features.{2 * stage + 1}.{block}", f"layers.{stage}.blocks.{block}"
            theirs |= {
                f"{ours}.{part}": f"{own}.{part}" for part in ("norm1", "norm2", "attn", "attn.qkv", "attn.proj")
            }
            theirs |= {f"{ours}.mlp.0": f"{own}.mlp.fc1", f"{ours}.mlp.3": f"{own}.mlp.fc2"}
        theirs |= {
            f"features.{2 * stage + 2}.{part}": f"layers.{stage}.downsample.{part}" for part in ("norm", "reduction")
        }
    renamed = {f"{theirs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}
    return {**renamed, "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


def test_a_swin_file_of_its_own_repository_is_torchvisions_under_other_names(tmp_path: Path) -> None:
    """Such as the ImageNet-22K weights, from which the official Swin-B teacher starts."""
    torch.manual_seed(0)
    flat = swin_t()
    flat.head = nn.Linear(768, 21841)
    torch.save(flat.state_dict(), tmp_path / "torchvision.pth")
    torch.save({"model": in_swins_own_names(flat.state_dict())}, tmp_path / "own.pth")
    models = [build("swin3d_t", weights=str(tmp_path / name)) for name in ("torchvision.pth", "own.pth")]
    backbones = [{k: v for k, v in model.state_dict().items() if k.startswith("backbone.")} for model in models]
    assert all(torch.equal(value, backbones[1][key]) for key, value in backbones[0].items())


def test_on_a_video_that_stands_still_an_inflated_swin_sees_what_the_2d_one_sees() -> None:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}
    flat = SwinTransformer(patch_size=[4, 4], window_size=[7, 7], **sizes).eval()
    for key, parameter in flat.named_parameters():
        if key.endswith("relative_position_bias_table"):
            nn.init.normal_(parameter, std=2.0)
    swin = SwinTransformer3d(patch_size=[2, 4, 4], window_size=[8, 7, 7], block=swin_block, **sizes)
    model = swin_model(swin, num_classes=6, dropout=0.0).eval()
    content = {key: value for key, value in flat.state_dict().items() if not key.startswith("head.")}
    _load_content(model, content, name="swin", source="made")
    frame = torch.randn(2, 1, 3, 56, 56)  # 14x14 cells, four windows of them shifted, then 7x7
    with torch.no_grad():
        expected = flat.permute(flat.norm(flat.features(frame[:, 0])))
        for num_frames in (2, 16, 32):  # a window of one cell in time, a full one, and two that are shifted
            maps = model.forward_features(frame.expand(-1, num_frames, -1, -1, -1))
            repeated = expected.repeat_interleave(num_frames // 2, dim=0)
            torch.testing.assert_close(maps, repeated, rtol=1e-4, atol=1e-5)
