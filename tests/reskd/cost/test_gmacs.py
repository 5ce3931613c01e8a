import pytest
import torch

from reskd.cost.gmacs import complexity
from reskd.models.catalogue import MODELS
from reskd.models.video_model import VideoModel
from tests.support.forms import forms

# Resolution -> GMACs of a ResNet-50's layers per frame, and Table 4's "GFLOPs" of 16 frames.
RESNET50 = {
    224: (4.0875, 65.9),
    144: (1.7580, 28.3),
    112: (1.0763, 17.4),
    96: (0.7511, 12.1),
    72: (0.5149, 8.3),
    56: (0.2974, 4.8),
}


def on_meta(name: str, *, num_classes: int = 200) -> VideoModel:
    with torch.device("meta"):
        return MODELS[name].build(num_classes=num_classes, dropout=0.5)


@pytest.mark.parametrize("resolution", RESNET50)
def test_gmacs_are_table_4_within_one_percent(resolution):
    _, published = RESNET50[resolution]
    cost = complexity(on_meta("tsn_resnet50"), resolution=resolution, num_frames=16)
    assert cost.gmacs == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("resolution", RESNET50)
def test_layers_alone_cost_the_known_gmacs_a_frame(resolution):
    per_frame, _ = RESNET50[resolution]
    cost = complexity(on_meta("tsn_resnet50"), resolution=resolution, num_frames=16)
    assert cost.gmacs_layers / 16 == pytest.approx(per_frame, abs=1e-4)


def test_a_mini_net_costs_what_its_layers_written_out_do():
    # Side 8 after the stem, then 4, 2, 2, 2 (16 pixels); one frame, six classes.
    convs = 8 * 8 * 32 * 75
    elements = 8 * 8 * 32 * 3
    for inputs, width, side, has_shortcut in ((32, 32, 4, 1), (32, 64, 2, 1), (64, 96, 2, 1), (96, 128, 2, 1)):
        cells = side * side * width
        convs += cells * (9 * inputs + 9 * width + has_shortcut * inputs)
        elements += cells * (2 * 2 + 2 * has_shortcut + 2)
    linear = 2 * 128 * 6  # the frame's logits and the clip's
    cost = complexity(on_meta("tsn_mini10", num_classes=6), resolution=16, num_frames=1)
    assert cost.gmacs_layers * 1e9 == pytest.approx(convs + linear)
    assert cost.gmacs * 1e9 == pytest.approx(convs + linear + elements + 2 * 2 * 128)  # the pooling's input last


def test_true_flops_of_a_network_without_attention_are_two_per_mac():
    cost = complexity(on_meta("tsn_resnet18"), resolution=112, num_frames=8)
    assert cost.gflops == pytest.approx(2 * cost.gmacs_layers)


def test_views_multiply_the_cost_and_leave_the_parameters():
    one = complexity(on_meta("tsn_mini10"), resolution=24, num_frames=4)
    thirty = complexity(on_meta("tsn_mini10"), resolution=24, num_frames=4, num_views=30)
    assert thirty.gmacs == pytest.approx(30 * one.gmacs)
    assert thirty.gmacs_layers == pytest.approx(30 * one.gmacs_layers)
    assert thirty.gflops == pytest.approx(30 * one.gflops)
    assert thirty.num_params == one.num_params


def test_a_smaller_frame_saves_less_than_its_area_where_the_map_rounds_up():
    model = on_meta("tsn_resnet50")
    full, small = (complexity(model, resolution=r, num_frames=1).gmacs_layers for r in (224, 72))
    assert small / full == pytest.approx(1.22 * (72 / 224) ** 2, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counting_leaves_the_model_as_it_was(dtype):
    model = MODELS["tsn_mini10"].build(num_classes=6, dropout=0.5).to(dtype)
    model.backbone.eval()
    parameters = dict(model.named_parameters())
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    complexity(model, resolution=24, num_frames=2)
    assert all(parameter is parameters[key] for key, parameter in model.named_parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_a_count_that_fails_leaves_the_model_as_it_was_too():
    model = MODELS["tsn_mini10"].build(num_classes=6, dropout=0.5)
    model.classifier = torch.nn.Linear(5, 6)  # does not fit the backbone
    with pytest.raises(RuntimeError):
        complexity(model, resolution=24, num_frames=2)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


@pytest.mark.parametrize(("resolution", "gflops"), forms([(224, 0.60), (112, 0.16)], light=[(224, 0.60)]))
def test_a_mobilenet_costs_its_known_gflops_a_frame(resolution, gflops):
    cost = complexity(on_meta("tsn_mobilenet_v2"), resolution=resolution, num_frames=1)
    assert 2 * cost.gmacs_layers == pytest.approx(gflops, abs=0.005)


@pytest.mark.parametrize(
    ("name", "resolution", "gmacs"),
    # What torchvision states of its networks: multiply-accumulates, attention's products among them.
    forms(
        [("swin3d_t", 224, 43.882), ("swin3d_s", 224, 82.841), ("r3d_18", 112, 40.697), ("mvit_v2_s", 224, 64.224)],
        light=[("swin3d_t", 224, 43.882), ("r3d_18", 112, 40.697)],
    ),
)
def test_all_products_of_torchvisions_3d_networks_are_what_torchvision_states(name, resolution, gmacs):
    cost = complexity(on_meta(name), resolution=resolution, num_frames=16)
    assert cost.gflops / 2 == pytest.approx(gmacs, rel=1e-3)


def test_attentions_products_are_those_of_its_windows_written_out():
    """One frame pair of 64 pixels: 16x16, 8x8, 4x4 cells in windows of 7x7, of 7x7 and of 4x4, two blocks each."""
    products = 0
    for width, cells, windows in ((24, 49, 3 * 3), (48, 49, 2 * 2), (96, 16, 1)):
        products += 2 * windows * 2 * cells * cells * width  # queries by keys, then by values; all heads together
    cost = complexity(on_meta("swin3d_mini"), resolution=64, num_frames=2)
    assert (cost.gflops / 2 - cost.gmacs_layers) * 1e9 == pytest.approx(products)
    assert cost.gmacs_with_attention == pytest.approx(cost.gmacs + products / 1e9)


def test_a_transformers_layer_norms_count_two_an_element_and_its_layers_are_written_out():
    layers, elements = 256 * 24 * 2 * 4 * 4 * 3, 2 * 256 * 24  # patches, and their norm
    for width, side, padded in ((24, 16, 21), (48, 8, 14), (96, 4, 4)):
        cells = side * side
        # Queries, keys, values and projection of padded windows; an MLP of four times the width; two norms.
        layers += 2 * (4 * padded * padded + 8 * cells) * width * width
        elements += 2 * 2 * 2 * cells * width
    for width, cells in ((24, 64), (48, 16)):  # merging: four cells side by side, normed, to twice the width
        layers += cells * 4 * width * 2 * width
        elements += 2 * cells * 4 * width
    layers += 2 * 96 * 200  # the frame's logits and the clip's
    elements += 2 * 16 * 96 + 16 * 96  # the last norm, the pooling's input
    cost = complexity(on_meta("swin3d_mini"), resolution=64, num_frames=2)
    assert cost.gmacs_layers * 1e9 == pytest.approx(layers)
    assert cost.gmacs * 1e9 == pytest.approx(layers + elements)
