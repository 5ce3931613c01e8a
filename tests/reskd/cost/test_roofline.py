import pytest
import torch
from torch import nn

from reskd.cost.gpu_peaks import DEVICE_PEAKS, DevicePeaks
from reskd.cost.roofline import operators, roofline_clips_per_s
from reskd.models.catalogue import MODELS
from reskd.models.video_model import VideoModel

RESOLUTIONS = (224, 144, 112, 96, 72, 56)
H200 = (3816, 9003, 14768, 20770, 32281, 54937)
A100 = (1464, 3446, 5649, 7967, 12268, 20938)


@pytest.fixture(scope="module")
def resnet50() -> VideoModel:
    return MODELS["tsn_resnet50"].build(num_classes=200, dropout=0.5)


@pytest.mark.parametrize(("name", "goals"), [("h200", H200), ("a100", A100)])
def test_the_rule_gives_the_known_clips_a_second(resnet50, name, goals):
    """Figures computed by another program, from layer shapes."""
    found = [
        roofline_clips_per_s(resnet50, DEVICE_PEAKS[name], resolution=resolution, num_frames=16)
        for resolution in RESOLUTIONS
    ]
    assert found == pytest.approx(goals, rel=0.03)


def test_a_frame_of_resnet_50_moves_54_6_megabytes_for_8_2_gflop(resnet50):
    found = operators(resnet50, resolution=224, num_frames=16, batch_size=64)
    assert sum(one.num_bytes for one in found) / 1024 == pytest.approx(54.6e6, rel=0.002)
    assert sum(one.flops for one in found) / 1024 == pytest.approx(8.175e9, rel=0.001)


def test_one_convolution_and_its_residual_written_out():
    """3 -> 5 channels, 3 x 3, 8 pixels: 6 x 6 outputs; then a sum that reads one more map, then the classifier."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, bias=False)

        def forward(self, frames):
            maps = torch.relu(self.conv(frames))
            return maps + maps

    model = VideoModel(Residual(), num_features=5, num_classes=2, dropout=0.0)
    found = operators(model, resolution=8, num_frames=1, batch_size=4)
    conv, added = found[:2]
    assert conv.flops == 2 * 4 * 5 * 36 * 3 * 9
    assert conv.num_bytes == 2 * (4 * 3 * 64 + 5 * 3 * 9 + 4 * 5 * 36)
    assert added.num_bytes == 2 * 4 * 5 * 36
    peaks = DevicePeaks(name="slow memory", flops_per_s=1e30, bytes_per_s=2.0)
    seconds = sum(one.num_bytes for one in operators(model, resolution=8, num_frames=1, batch_size=1024)) / 2.0
    assert roofline_clips_per_s(model, peaks, resolution=8, num_frames=1) == pytest.approx(1024 / seconds)
