"""Video Swin (Liu et al., CVPR 2022), based on torchvision's, with correct relative positions in smaller windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video import swin3d_b, swin3d_s, swin3d_t
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d, SwinTransformer3d
from torchvision.ops import Permute, StochasticDepth

from reskd.models.video_model import VideoModel3d

SWINS: dict[str, Callable[..., SwinTransformer3d]] = {"t": swin3d_t, "s": swin3d_s, "b": swin3d_b}
PATCH_FRAMES = 2


def set_drop_path(model: nn.Module, rate: float) -> bool:
    """Set the rate of stochastic depth: 0 in the first block, ``rate`` in the last, linear between, as in torchvision.

    Returns False, and changes nothing, if the network has no block with torchvision's stochastic depth.
    """
    depths = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    for number, depth in enumerate(depths):
        depth.p = rate * number / max(1, len(depths) - 1)
    return bool(depths)


class WindowAttention(ShiftedWindowAttention3d):
    """torchvision's attention with correct relative positions: the bias of two cells depends on their distance.

    A map smaller than the window makes the window smaller. Then torchvision and the official code take the first rows
    and columns of the full window's index, which belong to other cells if height or width is smaller.
    """

    relative_position_index: Tensor

    def get_relative_position_bias(self, window_size: list[int]) -> Tensor:
        """(1, heads, n, n) for the n cells of a window (t, h, w) that is at most as large as the table's."""
        time, height, width = window_size
        full = self.relative_position_index.reshape(*self.window_size, *self.window_size)
        index = full[:time, :height, :width, :time, :height, :width].flatten(3).flatten(0, 2)  # (n, n)
        bias: Tensor = self.relative_position_bias_table[index]  # (n, n, heads)
        return bias.permute(2, 0, 1).unsqueeze(0).contiguous()


def swin_block(*sizes: Any, **options: Any) -> SwinTransformerBlock:
    """torchvision's block with our attention. torchvision's block creates its own attention, whatever it is given."""
    return SwinTransformerBlock(*sizes, **{**options, "attn_layer": WindowAttention})


def swin3d(*, size: str, num_classes: int, dropout: float) -> VideoModel3d:
    """A randomly initialised Video Swin-T, -S or -B. Its last map has stride 32 and one cell for two frames.

    Its features are those after the last norm, which the classifier gets. An odd number of frames is padded by one
    frame of zeros. Stochastic depth draws from torch's global generator.
    """
    return swin_model(SWINS[size](weights=None, block=swin_block), num_classes=num_classes, dropout=dropout)


def swin_model(swin: SwinTransformer3d, *, num_classes: int, dropout: float) -> VideoModel3d:
    """torchvision's Swin without pooling and head, with its tensor names, as a VideoModel."""
    backbone = nn.Sequential()
    for name in ("patch_embed", "pos_drop", "features", "norm"):
        backbone.add_module(name, swin.get_submodule(name))
    backbone.add_module("channels_first", Permute([0, 4, 1, 2, 3]))  # (B, T', h, w, C) -> (B, C, T', h, w)
    return VideoModel3d(
        backbone,
        num_features=swin.num_features,
        num_classes=num_classes,
        dropout=dropout,
        time_stride=PATCH_FRAMES,
    )
