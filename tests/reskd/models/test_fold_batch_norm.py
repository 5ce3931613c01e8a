import pytest
import torch
from torch import nn

from reskd.models.catalogue import MODELS, build_model
from reskd.models.fold_batch_norm import NORMS, fold_batch_norm
from reskd.models.video_model import VideoModel
from reskd.recipe import ModelSpec
from tests.support.forms import forms

FOLDABLE = ("tsn_resnet18", "tsn_mobilenet_v2", "tsm_resnet18", "slowonly_mini10", "r3d_18", "frameexit_mini10")


def trained(name: str) -> VideoModel:
    """In float64, with statistics and factors that a fresh batch norm has not."""
    torch.manual_seed(0)
    model = build_model(ModelSpec(name=name), num_classes=5, num_frames=4).double()
    for module in model.modules():
        if isinstance(module, NORMS):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias)
    return model


@pytest.mark.parametrize("name", forms(FOLDABLE, light=["tsn_resnet18", "slowonly_mini10", "frameexit_mini10"]))
def test_a_folded_network_says_the_same_and_has_no_batch_norm_left(name):
    model = trained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norm(model)
    clips = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(clips), model.eval()(clips), rtol=1e-10, atol=1e-10)
    assert not any(isinstance(module, NORMS) for module in folded.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the model itself moved"


def test_a_batch_norm_whose_convolution_has_another_reader_stays():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, frames):
            raw = self.conv(frames)
            return raw + self.norm(raw)

    model = VideoModel(Twice(), num_features=4, num_classes=2, dropout=0.0).eval()
    model.backbone.norm.running_mean += 1.0
    folded = fold_batch_norm(model)
    clips = torch.randn(1, 2, 3, 8, 8)
    torch.testing.assert_close(folded(clips), model(clips))
    assert isinstance(folded.backbone.norm, nn.BatchNorm2d)


def test_a_convolution_that_is_called_twice_is_not_folded():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, frames):
            return self.second(self.conv(self.first(self.conv(frames))))

    model = VideoModel(Shared(), num_features=3, num_classes=2, dropout=0.0).eval()
    model.backbone.first.running_mean += 1.0
    clips = torch.randn(1, 2, 3, 8, 8)
    torch.testing.assert_close(fold_batch_norm(model)(clips), model(clips))


def test_a_network_without_batch_norm_is_copied():
    model = MODELS["swin3d_mini"].build(num_classes=3, dropout=0.0).eval()
    clips = torch.randn(1, 4, 3, 32, 32)
    folded = fold_batch_norm(model)
    assert folded is not model
    torch.testing.assert_close(folded(clips), model(clips))
