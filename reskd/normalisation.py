"""The normalisation of pixels: which mean and deviation a network was trained with. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[float, float, float]


class Normalisation(NamedTuple):
    """A network's input is (x / 255 - mean) / std for each channel of RGB pixels x in 0..255."""

    mean: RGB
    std: RGB


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""That of torchvision's ImageNet weights and of the official ResKD code."""
KINETICS_R3D = Normalisation((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""That of torchvision's R3D-18 on Kinetics-400."""
KINETICS_MVIT = Normalisation((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
"""That of torchvision's MViTv2-S on Kinetics-400."""
