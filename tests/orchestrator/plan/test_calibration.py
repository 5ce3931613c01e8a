"""`reskd bench calibrate`: measured figures become a profile that plans reckon with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator.plan.calibration import calibrated, write_profile
from orchestrator.plan.cost import ClipCounts, Costs
from orchestrator.plan.device_profiles import load_profile, profile_name_of
from reskd.cost.gpu_peaks import DEVICE_PEAKS, DevicePeaks, peaks_of
from reskd.recipe import ModelSpec
from reskd.throughput.device_peaks import MeasuredPass, Peaks, measure_pass, measure_peaks
from tests.support.command_line import call

SMALL = ModelSpec(name="tsn_mini10", resolution=32)
PEAKS = Peaks(flops={"fp32": 20e9, "fp64": 10e9}, bytes_per_s=5e9, launch_s=1e-6)


def passed(mode, seconds, **changes):
    one = MeasuredPass(spec=SMALL, num_frames=4, num_clips=8, precision="fp32", mode=mode, seconds=seconds)
    return replace(one, **changes)


def test_a_pass_takes_by_the_profile_what_it_was_measured_to_take():
    measured = [passed("eval", 0.030), passed("batch", 0.045), passed("train", 0.120)]
    profile = calibrated(load_profile("cpu"), PEAKS, measured, decode_core_ms={"short": 70}, source="by hand")
    costs = Costs(device="cpu", profile=profile, clips=lambda step: ClipCounts(1, 1))
    for one in measured:
        assert costs.pass_seconds(SMALL, 4, 8, "fp32", one.mode) == pytest.approx(one.seconds)
    assert profile.flops["fp64"] == 10e9
    assert profile.flops["bf16"] == load_profile("cpu").flops["bf16"]  # not measured
    assert profile.decode_core_ms == {**load_profile("cpu").decode_core_ms, "short": 70}


def test_of_several_networks_the_median_counts_and_what_only_starts_kernels_does_not():
    measured = [passed("eval", seconds) for seconds in (0.01, 0.02, 0.5)] + [passed("batch", 2e-6)]
    profile = calibrated(load_profile("cpu"), PEAKS, measured, decode_core_ms={}, source="by hand")
    alone = calibrated(load_profile("cpu"), PEAKS, measured[1:2], decode_core_ms={}, source="by hand")
    assert profile.efficiency["eval"] == alone.efficiency["eval"]
    assert profile.efficiency["batch"] == load_profile("cpu").efficiency["batch"]


def test_a_written_profile_is_read_back_and_known_by_its_devices_name(tmp_path: Path):
    card = replace(load_profile("h100"), matches=("RTX 4090",), memory_bytes=24e9, source="by hand")
    write_profile(card, tmp_path / "rtx4090.yaml")
    assert load_profile("rtx4090", folder=tmp_path) == card
    assert profile_name_of("NVIDIA GeForce RTX 4090", folder=tmp_path) == "rtx4090"
    assert profile_name_of("NVIDIA H200", folder=tmp_path) == "h200"
    write_profile(replace(card, matches=("NVIDIA H100 PCIe",)), tmp_path / "h100_pcie.yaml")
    assert profile_name_of("NVIDIA H100 PCIe", folder=tmp_path) == "h100_pcie"
    assert profile_name_of("NVIDIA H100 80GB HBM3", folder=tmp_path) == "h100"


def test_rooflines_take_the_same_profile_as_plans(tmp_path: Path):
    measured = replace(
        load_profile("h100"), flops={**load_profile("h100").flops, "bf16": 7e14}, bytes_per_s=2.5e12, source="by hand"
    )
    write_profile(measured, tmp_path / "h100.yaml")
    write_profile(replace(measured, matches=("RTX 4090",)), tmp_path / "rtx4090.yaml")
    write_profile(load_profile("cpu"), tmp_path / "cpu.yaml")
    found = peaks_of("NVIDIA H100 80GB HBM3", profiles=tmp_path)
    assert found == DevicePeaks(name="h100", flops_per_s=7e14, bytes_per_s=2.5e12, source="by hand")
    for device in ("NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090", "NVIDIA H200", "NVIDIA A100-SXM4-40GB"):
        peaks = peaks_of(device, profiles=tmp_path)
        assert (peaks and peaks.name) == profile_name_of(device, folder=tmp_path)
    assert peaks_of("NVIDIA H100 80GB HBM3", profiles=tmp_path / "none") == DEVICE_PEAKS["h100"]
    # A profile of that name which is of another card replaces the shipped one, as it does in a plan.
    write_profile(replace(measured, matches=("H100 PCIe",)), tmp_path / "h100.yaml")
    assert peaks_of("NVIDIA H100 80GB HBM3", profiles=tmp_path) is None
    assert profile_name_of("NVIDIA H100 80GB HBM3", folder=tmp_path) is None


@pytest.mark.parametrize("mode", ["eval", "batch", "train"])
def test_what_is_measured_is_a_pass_of_that_network(mode):
    small, large = (
        measure_pass(
            replace(SMALL, resolution=resolution),
            mode=mode,
            precision="fp32",
            num_frames=2,
            num_clips=2,
            device=torch.device("cpu"),
            seconds=0.1,
        )
        for resolution in (16, 128)
    )
    assert 0 < small.seconds < large.seconds  # 64 times the pixels


def test_peaks_of_wider_numbers_are_lower():
    peaks = measure_peaks(torch.device("cpu"), precisions=("fp32", "fp64"), seconds=0.2)
    assert peaks.flops["fp64"] < peaks.flops["fp32"]
    assert peaks.launch_s < 1e-3


def test_the_command_writes_a_profile_that_plan_takes(tmp_path, monkeypatch, capsys, demo_root):
    monkeypatch.setattr("orchestrator.plan.calibration.NETWORKS", ("tsn_mini10",))
    how = ("--device", "cpu", "--seconds", "0.05", "--data", demo_root)
    code, text = call(monkeypatch, capsys, "bench", "calibrate", *how, "--store", tmp_path)
    assert code == 0, text
    profile = load_profile("cpu", folder=tmp_path / "devices")
    assert "one core" in profile.source
    assert profile.decode_core_ms["tiny"] != load_profile("cpu").decode_core_ms["tiny"]
    assert profile.decode_core_ms["long"] == load_profile("cpu").decode_core_ms["long"]


def test_a_card_without_a_shipped_profile_needs_a_name_and_keeps_it(tmp_path, monkeypatch, capsys, demo_root):
    monkeypatch.setattr("orchestrator.plan.calibration.NETWORKS", ("tsn_mini10",))
    monkeypatch.setattr("reskd.runtime.device.device_name", lambda device: "NVIDIA GeForce RTX 4090")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(total_memory=24e9))
    how = ("bench", "calibrate", "--device", "cpu", "--seconds", "0.02", "--store", tmp_path)
    code, text = call(monkeypatch, capsys, *how)
    assert code == 2
    assert "--name is missing: NVIDIA GeForce RTX 4090 has no shipped profile" in text
    for again in (("--name", "rtx4090"), ("--data", demo_root)):
        code, text = call(monkeypatch, capsys, *how, *again)
        assert code == 0, text
        profile = load_profile("rtx4090", folder=tmp_path / "devices")
        assert (profile.matches, profile.memory_bytes) == (("NVIDIA GeForce RTX 4090",), 24e9)
    found, before = profile.decode_core_ms, load_profile("h100").decode_core_ms
    assert [kind for kind in before if found[kind] != before[kind]] == ["tiny"]
