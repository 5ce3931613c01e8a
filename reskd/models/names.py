"""The networks that there are, by name alone: a sweep file is checked without loading what builds them."""

from __future__ import annotations

MODEL_NAMES = (
    *("tsn_resnet18", "tsn_resnet34", "tsn_resnet50", "tsn_resnet101", "tsn_resnet152", "tsn_mobilenet_v2"),
    *("tsm_resnet18", "tsm_resnet50", "tsm_mobilenet_v2"),
    *("tsn_mini10", "tsn_mini18"),
    *("slowonly_resnet18", "slowonly_resnet50", "slowonly_mini10"),
    *("swin3d_mini", "swin3d_t", "swin3d_s", "swin3d_b"),
    *("r3d_18", "mvit_v2_s"),
    *("frameexit_resnet18", "frameexit_resnet50", "frameexit_mini10"),
)
"""The keys of `reskd.models.MODELS`, in its order; timm's are not among them."""
