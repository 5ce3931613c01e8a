from __future__ import annotations

from pathlib import Path

import pytest

from reskd.cost.gpu_peaks import DEVICE_PEAKS, is_named, peaks_of
from reskd.errors import BadInput


@pytest.mark.parametrize(
    ("device", "key"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("Tesla V100-SXM2-16GB", None),
        ("AMD EPYC 7763", None),
    ],
)
def test_a_device_is_known_by_its_name_or_not_at_all(device, key):
    assert peaks_of(device) == (DEVICE_PEAKS[key] if key else None)


def test_a_variant_is_meant_where_its_word_is_given():
    assert is_named("H100 PCIe", "NVIDIA H100 PCIe")
    assert is_named("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB")
    assert not is_named("H100 PCIe", "NVIDIA H100 NVL")
    assert not is_named("RTX 4090", "NVIDIA GeForce RTX 4080")


@pytest.mark.parametrize(
    "text", ["matches: [H200]", "- a list", "", "matches: [H200]\nflops: {bf16: fast}\nbytes_per_s: 1", "{"]
)
def test_a_file_that_is_no_profile_is_named_with_a_way_out(tmp_path: Path, text: str):
    (tmp_path / "h200.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"h200\.yaml: not a device profile.*reskd bench calibrate"):
        peaks_of("NVIDIA H200", profiles=tmp_path)
