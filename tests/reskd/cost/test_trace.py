from __future__ import annotations

import torch
from torch import nn

from reskd.cost.trace import Recorder, evaluation_kernels, num_elements
from reskd.models.catalogue import MODELS


def test_the_kernels_of_a_small_network_are_those_written_out():
    """9 pixels a side, 3 x 3 and stride 2: 4 x 4 outputs of 5 channels, then 80 -> 7."""
    with torch.device("meta"):
        network = nn.Sequential(
            nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 7)
        )
        network.eval()
        clip = torch.empty(2, 3, 9, 9)
    with torch.no_grad(), Recorder(network) as recorder:
        network(clip)
    conv, norm, relu, linear = recorder.kernels  # flattening and the transposed weight are views
    maps = (2, 5, 4, 4)
    assert [kernel.module for kernel in recorder.kernels] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear]
    assert (conv.inputs, conv.outputs, conv.strides) == (((2, 3, 9, 9), (5, 3, 3, 3), (5,)), (maps,), (2, 2))
    assert conv.flops == 2 * num_elements(maps) * 3 * 3 * 3
    assert norm.inputs == (maps, (5,), (5,), (5,), (5,))
    assert (norm.outputs[0], relu.inputs, relu.outputs) == (maps, (maps,), (maps,))
    assert (linear.inputs, linear.flops) == (((7,), (2, 80), (80, 7)), 2 * 2 * 80 * 7)
    assert norm.flops == relu.flops == 0


def test_a_recorder_that_was_left_records_no_more_and_leaves_no_hook():
    network, values = nn.Linear(3, 2), torch.ones(1, 3)
    with Recorder(network) as recorder:
        network(values)
    network(values)
    assert len(recorder.kernels) == 1
    assert not network._forward_hooks
    assert not network._forward_pre_hooks


def test_a_functional_call_belongs_to_the_module_around_it():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, values):
            return self.inner(values) + torch.relu(values)

    block, values = Block(), torch.ones(3)
    with Recorder(block) as recorder:
        block(values)
    assert [kernel.module for kernel in recorder.kernels] == [nn.ReLU, Block, Block]


def test_in_inference_mode_the_kernels_are_the_same():
    """In it torch hands conv2d and linear on whole: a sheet's roofline saw no product."""
    model = MODELS["tsn_mini10"].build(num_classes=3, dropout=0.5)
    outside = evaluation_kernels(model, resolution=32, num_frames=2)
    with torch.inference_mode():
        assert evaluation_kernels(model, resolution=32, num_frames=2) == outside
        inside = MODELS["tsn_mini10"].build(num_classes=3, dropout=0.5)
        assert evaluation_kernels(inside, resolution=32, num_frames=2) == outside
    assert sum(kernel.flops for kernel in outside) > 0
