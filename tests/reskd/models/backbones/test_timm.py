"""timm's networks as backbones; without timm only what is said of its absence can be tested."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from orchestrator.experiment.check_networks import _last_map
from orchestrator.spec.expand import check_keys
from reskd.errors import BadInput
from reskd.models.catalogue import build_model, is_model
from reskd.models.video_model import VideoModel
from reskd.models.weights import load_weights_file
from reskd.recipe import ModelSpec

with_timm = pytest.mark.skipif(find_spec("timm") is None, reason="needs the extra 'timm'")


def built(name: str, *, weights: str = "none") -> VideoModel:
    torch.manual_seed(0)
    return build_model(ModelSpec(name=name, dropout=0.0, weights=weights), num_classes=5)


def test_without_timm_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for ask in (built, is_model):
        with pytest.raises(BadInput, match=r"'timm:resnet18' needs timm, .* pip install timm \(reskd's extra 'timm'\)"):
            ask("timm:resnet18")


@with_timm
def test_an_unknown_network_is_refused_with_the_nearest_one():
    with pytest.raises(BadInput, match=r"'timm:resnet1B' is not a network of timm .*did you mean 'timm:resnet1"):
        built("timm:resnet1B")
    with pytest.raises(BadInput, match=r"'timm:resnet1B' is not a network of timm"):
        check_keys({"model.name": "timm:resnet1B"})
    check_keys({"model.name": "timm:resnet18"})


@with_timm
@pytest.mark.parametrize(
    ("name", "num_features", "side"),
    [("resnet18", 512, 2), ("convnext_atto", 320, 2), ("regnetx_002", 368, 2), ("efficientnet_b0", 320, 2)],
)
def test_its_networks_give_maps_and_every_parameter_learns(name, num_features, side):
    model = built(f"timm:{name}").train()
    output = model(torch.randn(4, 2, 3, 64, 64))
    assert output.features.shape == (8, num_features, side, side)
    assert (output.frame_logits.shape, output.clip_logits.shape) == ((4, 2, 5), (4, 5))
    F.cross_entropy(output.clip_logits, torch.tensor([0, 1, 2, 3])).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@with_timm
def test_its_resnet_is_torchvisions():
    """Two independent implementations of one architecture, given the same tensors."""
    theirs, ours = built("timm:resnet18").double().eval(), built("tsn_resnet18").double().eval()
    theirs.load_state_dict(ours.state_dict())
    clips = torch.randn(2, 2, 3, 48, 48, dtype=torch.float64)
    torch.testing.assert_close(theirs(clips), ours(clips))


@with_timm
def test_maps_with_channels_last_are_turned():
    with torch.device("meta"):
        model = built("timm:swin_tiny_patch4_window7_224")
        assert model.forward_features(torch.empty(1, 1, 3, 224, 224)).shape == (1, 768, 7, 7)


@with_timm
def test_a_size_that_a_network_is_not_made_for_is_refused_before_anything_starts():
    with pytest.raises(BadInput, match=r"model\.resolution does not suit 'timm:swin_tiny.*\(64\) doesn't match"):
        _last_map(ModelSpec(name="timm:swin_tiny_patch4_window7_224", resolution=64), 1, 1, 5)


@with_timm
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_timms_own_file_fits_but_for_what_lies_behind_the_map(name, tmp_path: Path):
    import timm

    torch.manual_seed(3)
    whole = timm.create_model(name, num_classes=7)
    torch.save(whole.state_dict(), tmp_path / "timm.pth")
    model = built(f"timm:{name}").eval()
    loaded = load_weights_file(model, tmp_path / "timm.pth", name=f"timm:{name}")
    assert loaded.num_head == len(whole.state_dict()) - loaded.num_backbone > 0
    frames = torch.randn(2, 3, 64, 64)
    maps: list[torch.Tensor] = []
    last = {"resnet18": "layer4", "convnext_atto": "stages", "mobilenetv3_small_050": "blocks"}[name]
    whole.get_submodule(last).register_forward_hook(lambda module, inputs, output: maps.append(output))
    whole.eval()(frames)
    torch.testing.assert_close(model.forward_features(frames[:, None]), maps[0])


@with_timm
def test_a_file_of_another_network_is_refused(tmp_path: Path):
    torch.save(built("tsn_mobilenet_v2").backbone.state_dict(), tmp_path / "other.pth")
    with pytest.raises(BadInput, match=r"does not fit timm:resnet18: .* missing .* unexpected"):
        built("timm:resnet18", weights=str(tmp_path / "other.pth"))
