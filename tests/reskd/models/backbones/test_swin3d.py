"""Video Swin: torchvision's own answer where its relative positions are right, and ours by coordinates where not."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.video import swin3d_t
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d, SwinTransformer3d

from reskd.models.backbones.swin3d import WindowAttention, swin_block, swin_model
from reskd.models.catalogue import MODELS
from reskd.models.video_model import VideoModel3d

WINDOW = (8, 7, 7)
ONE_STAGE = {"patch_size": [2, 4, 4], "embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": list(WINDOW)}


def attention(kind: type[ShiftedWindowAttention3d]) -> ShiftedWindowAttention3d:
    torch.manual_seed(0)
    return kind(8, list(WINDOW), [0, 0, 0], num_heads=2)


def by_coordinates(table: torch.Tensor, window: tuple[int, int, int]) -> torch.Tensor:
    """(1, heads, n, n): the table's row for the distance of two cells, looked up pair by pair."""
    times, heights, widths = window
    cells = [(t, y, x) for t in range(times) for y in range(heights) for x in range(widths)]
    rows = table.unflatten(0, [2 * side - 1 for side in WINDOW])
    bias = torch.empty(1, table.shape[1], len(cells), len(cells))
    for i, (t, y, x) in enumerate(cells):
        for j, (s, v, u) in enumerate(cells):
            bias[0, :, i, j] = rows[t - s + WINDOW[0] - 1, y - v + WINDOW[1] - 1, x - u + WINDOW[2] - 1]
    return bias


def taught_by(reference: SwinTransformer3d, model: VideoModel3d) -> VideoModel3d:
    """The model with the reference's weights, so large in both that attention and its positions decide the answer."""
    for key, parameter in reference.named_parameters():
        if key.endswith("relative_position_bias_table"):
            torch.nn.init.normal_(parameter, std=2.0)
        elif parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    state = reference.state_dict()
    model.backbone.load_state_dict({key: value for key, value in state.items() if not key.startswith("head.")})
    model.classifier.load_state_dict(reference.head.state_dict())
    return model.eval()


# The last maps of a Swin-S at 112 pixels are 4x4, at 56 pixels 2x2, and 8 frames leave 4 cells of time.
@pytest.mark.parametrize("window", [(8, 4, 4), (4, 4, 4), (4, 2, 2), (1, 1, 1), (2, 3, 5)])
def test_the_bias_of_a_shrunken_window_is_the_one_written_out_by_coordinates(window) -> None:
    ours = attention(WindowAttention)
    bias = ours.get_relative_position_bias(list(window))
    assert torch.equal(bias, by_coordinates(ours.relative_position_bias_table, window))


def test_torchvision_takes_other_positions_where_height_or_width_shrink() -> None:
    ours, theirs = attention(WindowAttention), attention(ShiftedWindowAttention3d)
    for window in ([8, 7, 7], [4, 7, 7]):
        assert torch.equal(ours.get_relative_position_bias(window), theirs.get_relative_position_bias(window))
    for window in ([8, 4, 4], [8, 7, 4]):
        assert not torch.equal(ours.get_relative_position_bias(window), theirs.get_relative_position_bias(window))


@pytest.mark.slow
def test_swin_at_224_pixels_answers_as_torchvisions() -> None:
    torch.manual_seed(0)
    reference = swin3d_t(weights=None).eval()
    model = taught_by(reference, MODELS["swin3d_t"].build(num_classes=400, dropout=0.5))
    clips = torch.randn(1, 2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model(clips).clip_logits, reference(clips.transpose(1, 2)))


def test_full_and_shifted_windows_in_time_and_space_answer_as_torchvisions() -> None:
    torch.manual_seed(0)
    reference = SwinTransformer3d(**ONE_STAGE, num_classes=6).eval()
    model = taught_by(reference, swin_model(SwinTransformer3d(**ONE_STAGE, block=swin_block), num_classes=6, dropout=0))
    clips = torch.randn(2, 18, 3, 56, 56)  # 9x14x14 cells: two windows a side, the second in time padded
    with torch.no_grad():
        torch.testing.assert_close(model(clips).clip_logits, reference(clips.transpose(1, 2)))


def test_swin_at_112_pixels_answers_otherwise_than_torchvisions() -> None:
    torch.manual_seed(0)
    reference = SwinTransformer3d(**ONE_STAGE, num_classes=6).eval()
    model = taught_by(reference, swin_model(SwinTransformer3d(**ONE_STAGE, block=swin_block), num_classes=6, dropout=0))
    clips = torch.randn(2, 16, 3, 16, 16)  # 8x4x4 cells, as in the last stage of a Swin at 112 pixels
    with torch.no_grad():
        assert not torch.allclose(model(clips).clip_logits, reference(clips.transpose(1, 2)), rtol=0.1, atol=0.1)


def test_every_attention_of_a_swin_has_the_right_positions() -> None:
    with torch.device("meta"):
        model = MODELS["swin3d_s"].build(num_classes=6, dropout=0.5)
    attentions = [module for module in model.modules() if isinstance(module, ShiftedWindowAttention3d)]
    assert len(attentions) == 2 + 2 + 18 + 2
    assert all(isinstance(module, WindowAttention) for module in attentions)
