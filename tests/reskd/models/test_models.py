from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import ResNet18_Weights, get_weight, mobilenet_v2, resnet18, resnet50

from reskd.errors import BadInput
from reskd.methods.frame_exit import PREFIX as EXIT_PREFIX
from reskd.models.catalogue import MODELS, build_model
from reskd.models.video_model import VideoModel, evaluating
from reskd.recipe import ModelSpec
from tests.support.forms import forms


def mini(*, num_classes: int = 6, dropout: float = 0.0, name: str = "tsn_mini10", weights: str = "none") -> VideoModel:
    torch.manual_seed(0)
    return build_model(ModelSpec(name=name, dropout=dropout, weights=weights), num_classes=num_classes)


def random_resnet18_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return resnet18(weights=None).state_dict()


def test_each_row_names_files_that_torchvision_has_and_a_stand_in_that_stands_for_itself():
    for name, network in MODELS.items():
        for weights, file_name in network.weights.items():
            assert get_weight(file_name).url.startswith("https://"), (name, weights)
        assert MODELS[network.smoke or name].smoke in (None, network.smoke)


def test_the_networks_that_take_a_recipes_exit_beta_are_those_that_a_recipe_may_give_one():
    takers = {
        name
        for name, network in MODELS.items()
        if network.own_options is not None and "exit_beta" in network.own_options(ModelSpec(name=name), 2)
    }
    assert takers == {name for name in MODELS if name.startswith(EXIT_PREFIX)}


FLAT = [name for name in MODELS if name.startswith(("ts", "frameexit"))]


@pytest.mark.parametrize("name", forms(FLAT, light=[name for name in FLAT if "mini" in name or "resnet18" in name]))
def test_every_2d_model_gives_the_shapes_it_promises(name):
    with torch.device("meta"):
        model = build_model(ModelSpec(name=name), num_classes=7, num_frames=3)
        output = model(torch.empty(2, 3, 3, 64, 64))
    side = 8 if "mini" in name else 2
    assert output.features.shape == (6, model.num_features, side, side)
    assert output.frame_logits.shape == (2, 3, 7)
    assert output.clip_logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "resolution", "side"),
    forms(
        [
            ("tsn_resnet50", 224, 7),
            ("tsn_resnet50", 112, 4),
            ("tsn_resnet50", 56, 2),
            ("tsn_mini18", 64, 8),
            ("tsn_mini10", 24, 3),
            ("tsn_mini6", 18, 3),
        ],
        light=[("tsn_resnet50", 56, 2), ("tsn_mini18", 64, 8)],
    ),
)
def test_the_last_map_has_the_networks_stride(name, resolution, side):
    with torch.device("meta"):
        model = build_model(ModelSpec(name=name), num_classes=7)
        features = model.forward_features(torch.empty(1, 1, 3, resolution, resolution))
    assert features.shape[-2:] == (side, side)


def test_resnet50_has_torchvisions_parameters_less_its_classifier_plus_ours():
    with torch.device("meta"):
        model, reference = build_model(ModelSpec(name="tsn_resnet50"), num_classes=200), resnet50()

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(model) == count(reference) - count(reference.fc) + 2048 * 200 + 200


def test_the_mini_nets_have_as_many_layers_as_their_names_say():
    for name, num_layers in (("tsn_mini6", 6), ("tsn_mini10", 10), ("tsn_mini18", 18)):
        kernels = [m for m in mini(name=name).modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
        assert len(kernels) + 1 == num_layers


def test_features_are_torchvisions_own_layers_on_every_frame(tmp_path):
    torch.save(random_resnet18_state(), tmp_path / "resnet18.pth")
    model = mini(name="tsn_resnet18", weights=str(tmp_path / "resnet18.pth")).eval()
    reference = resnet18(weights=None).eval()
    reference.load_state_dict(random_resnet18_state())
    clips = torch.randn(2, 3, 3, 64, 64)
    features = model.forward_features(clips)
    for number, frame in enumerate(clips.flatten(0, 1)):
        x = reference.maxpool(F.relu(reference.bn1(reference.conv1(frame[None]))))
        for stage in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            x = stage(x)
        torch.testing.assert_close(features[number : number + 1], x, rtol=1e-4, atol=1e-5)


def test_clip_logits_are_the_mean_of_the_frames_logits_without_dropout():
    model = mini(dropout=0.5).eval()
    output = model(torch.randn(2, 4, 3, 24, 24))
    torch.testing.assert_close(output.clip_logits, output.frame_logits.mean(dim=1))


def test_dropout_reaches_the_clips_logits_and_never_the_frames():
    model, clips = mini(dropout=0.5).train(), torch.randn(2, 4, 3, 24, 24)
    first, second = model(clips), model(clips)
    assert torch.equal(first.frame_logits, second.frame_logits)
    assert not torch.equal(first.clip_logits, second.clip_logits)


def test_each_frame_is_seen_alone():
    model, clips = mini().eval(), torch.randn(2, 4, 3, 24, 24)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(clips[:, order]).frame_logits, model(clips).frame_logits[:, order])


@pytest.mark.parametrize(
    "name",
    forms(
        ["tsn_mini10", "tsn_mini18", "tsn_resnet18", "tsn_resnet50", "tsn_mobilenet_v2"],
        light=["tsn_mini10", "tsn_mobilenet_v2"],
    ),
)
def test_the_task_loss_reaches_every_parameter(name):
    model = mini(name=name, dropout=0.5).train()
    F.cross_entropy(model(torch.randn(4, 2, 3, 32, 32)).clip_logits, torch.tensor([0, 1, 2, 3])).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


def test_channels_last_changes_nothing_but_the_layout():
    model, clips = mini().eval(), torch.randn(2, 3, 3, 24, 24)
    expected = model(clips)
    got = model.to(memory_format=torch.channels_last)(clips)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_autocast_stays_near_float32_and_trains():
    model, clips = mini().train(), torch.randn(2, 3, 3, 24, 24)
    expected = model(clips).clip_logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(clips)
    assert output.features.dtype == output.clip_logits.dtype == torch.bfloat16
    torch.testing.assert_close(output.clip_logits.float(), expected, rtol=0.1, atol=0.02)
    output.clip_logits.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_the_same_seed_gives_the_same_weights():
    first, second = mini().state_dict(), mini().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_classifier_starts_small_and_without_bias():
    classifier = mini(num_classes=400).classifier
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not classifier.bias.any()


@pytest.mark.parametrize("name", ["tsn_mini10", "frameexit_mini10"])
def test_another_head_std_scales_the_same_draws_of_every_classifier(name):
    heads = {}
    for std in (0.01, 0.001):
        torch.manual_seed(0)
        model = build_model(ModelSpec(name=name, head_std=std), num_classes=300, num_frames=3)
        heads[std] = [layer.weight for layer in model.classifiers]
        assert all(weight.std().item() == pytest.approx(std, rel=0.05) for weight in heads[std])
        assert not any(layer.bias.any() for layer in model.classifiers)
    for large, small in zip(heads[0.01], heads[0.001], strict=True):
        torch.testing.assert_close(small, large / 10)
    assert len(heads[0.01]) == (3 if name.startswith("frameexit") else 1)


def test_evaluating_gives_each_module_its_own_mode_back():
    model = mini().train()
    model.backbone.eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert model.training
    assert model.dropout.training
    assert not any(module.training for module in model.backbone.modules())


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(BadInput, match=r"model\.name: 'tsn_resnet5O'.*did you mean 'tsn_resnet50'"):
        build_model(ModelSpec(name="tsn_resnet5O"), num_classes=2)


def test_an_imagenet_file_in_torchs_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    state = random_resnet18_state()
    torch.save(state, cache / Path(ResNet18_Weights.IMAGENET1K_V1.url).name)
    model = mini(name="tsn_resnet18", weights="imagenet_v1")
    assert all(torch.equal(model.backbone.state_dict()[key], value) for key, value in state.items() if key[:2] != "fc")


def test_a_failing_download_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody answers
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # else it has the proxies of this process's first request
    with pytest.raises(BadInput) as caught:
        mini(name="tsn_resnet18", weights="imagenet_v1")
    url = ResNet18_Weights.IMAGENET1K_V1.url
    for part in (url, "refused", str(tmp_path / "hub" / "checkpoints" / Path(url).name), "TORCH_HOME"):
        assert part in str(caught.value)


def test_a_torn_file_in_torchs_cache_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torn = tmp_path / "hub" / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"half a file")
    with pytest.raises(BadInput, match=torn.name):
        mini(name="tsn_resnet18", weights="imagenet_v1")


def test_the_mini_nets_have_no_imagenet_weights():
    with pytest.raises(BadInput, match="imagenet_v1' does not exist for 'tsn_mini10'"):
        mini(weights="imagenet_v1")


def test_a_weights_file_gives_the_whole_model_back(tmp_path):
    state = mini().state_dict()
    state = {key: torch.rand_like(value) if value.is_floating_point() else value + 5 for key, value in state.items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "weights.pt")
    loaded = mini(weights=str(tmp_path / "weights.pt")).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_weights_file_of_other_classes_gives_its_backbone_only(tmp_path):
    donor, fresh = mini(num_classes=9), mini(num_classes=6)
    nn.init.ones_(donor.backbone.conv1.weight)
    torch.save({"model": donor.state_dict()}, tmp_path / "weights.pt")
    model = mini(num_classes=6, weights=str(tmp_path / "weights.pt"))
    assert torch.equal(model.backbone.conv1.weight, donor.backbone.conv1.weight)
    assert torch.equal(model.classifier.weight, fresh.classifier.weight)


def test_a_file_older_than_batch_norms_counter_and_zip_files_still_loads(tmp_path):
    state = {key: value for key, value in random_resnet18_state().items() if "num_batches_tracked" not in key}
    state["conv1.weight"] = nn.Parameter(state["conv1.weight"])
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model = mini(name="tsn_resnet18", weights=str(tmp_path / "old.pth"))
    assert torch.equal(model.backbone.conv1.weight, state["conv1.weight"])


def test_everything_that_does_not_fit_is_reported_at_once(tmp_path):
    state = random_resnet18_state()
    del state["bn1.weight"]
    state["layer9.weight"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(64, 3, 5, 5)
    state["bn1.bias"] = "text"
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(BadInput) as caught:
        mini(name="tsn_resnet18", weights=str(tmp_path / "wrong.pth"))
    for part in (
        "wrong.pth",
        "tsn_resnet18",
        "1 missing (backbone.bn1.weight)",
        "1 unexpected (backbone.layer9.weight)",
        "2 of another shape",
        "backbone.conv1.weight (64, 3, 5, 5) for (64, 3, 7, 7)",
        "backbone.bn1.bias str for (64,)",
    ):
        assert part in str(caught.value)


def test_a_file_of_another_backbone_is_refused(tmp_path):
    torch.save({"model": mini(name="tsn_mini18").state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(BadInput, match=r"does not fit tsn_mini10: 48 unexpected .*\.\.\."):
        mini(weights=str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half a zip", b"\x80\x02}q\x00."])
def test_a_file_that_torch_cannot_read_is_refused(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(BadInput, match=r"weights\.pt: model\.weights"):
        mini(weights=str(tmp_path / "weights.pt"))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pt")
    with pytest.raises(BadInput, match="could run code, so it is not opened"):
        mini(weights=str(tmp_path / "weights.pt"))


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "weights.pt")
    with pytest.raises(BadInput, match="holds a list, not a state dict"):
        mini(weights=str(tmp_path / "weights.pt"))


def test_a_missing_file_or_a_mistyped_keyword_is_refused(tmp_path):
    for weights in (str(tmp_path / "nowhere.pt"), str(tmp_path), "imagenet"):
        with pytest.raises(BadInput, match="one of 'none', 'imagenet_v1', 'kinetics_v1'"):
            mini(weights=weights)


def test_mobilenet_is_torchvisions_backbone_under_our_head(tmp_path):
    torch.manual_seed(2)
    reference = mobilenet_v2(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "mobilenet.pth")
    model = mini(name="tsn_mobilenet_v2", weights=str(tmp_path / "mobilenet.pth")).eval()
    clips = torch.randn(2, 3, 3, 64, 64)
    torch.testing.assert_close(model.forward_features(clips), reference.features(clips.flatten(0, 1)))
    # 3,504,872 parameters with an ImageNet classifier of 1280 x 1000 + 1000.
    assert sum(p.numel() for p in model.parameters()) == 3_504_872 - 1_281_000 + 1280 * 6 + 6
    assert model.num_features == 1280
