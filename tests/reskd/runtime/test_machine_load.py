"""The load of a machine, from a folder as Linux describes one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reskd.runtime.machine_load import MachineLoad

CPU = torch.device("cpu")


def describe(proc: Path, times: str) -> None:
    (proc / "stat").write_text(f"cpu  {times}\ncpu0 {times}\nintr 12\n")
    (proc / "meminfo").write_text("MemTotal:  8000000 kB\nMemFree:  1 kB\nMemAvailable:  6000000 kB\nHugePages: 0\n")


def test_cpu_load_is_the_busy_share_since_the_last_sample_and_memory_what_is_not_available(tmp_path: Path) -> None:
    describe(tmp_path, "100 0 100 700 100 0 0 0 100 0")
    load = MachineLoad(CPU, proc=tmp_path)
    # Of 200 ticks: user 30, nice 10, system 10, idle 120, waiting 20, interrupts 4 + 4, stolen 2. Guests are in user.
    describe(tmp_path, "130 10 110 820 120 4 4 2 130 10")
    memory = {"system/system_memory_usage_megabytes": 2048.0, "system/system_memory_usage_percentage": 25.0}
    assert load.sample() == {"system/cpu_utilization_percentage": 30.0, **memory}
    assert load.sample() == memory  # no time has passed
    describe(tmp_path, "230 10 110 820 120 4 4 2 130 10")
    assert load.sample()["system/cpu_utilization_percentage"] == 100.0


@pytest.mark.parametrize("content", [None, "", "cpu many\n", "MemTotal:\n"])
def test_what_the_machine_does_not_tell_is_left_out(tmp_path: Path, content: str | None) -> None:
    for name in ("stat", "meminfo") if content is not None else ():
        (tmp_path / name).write_text(str(content))
    load = MachineLoad(CPU, proc=tmp_path)
    assert load.sample() == load.sample() == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_its_memory() -> None:
    found = MachineLoad(torch.device("cuda")).sample()
    assert 0 < found["system/gpu_0_memory_usage_percentage"] <= 100
    assert found["system/gpu_0_memory_usage_megabytes"] > 0
    assert 0 <= found.get("system/gpu_0_utilization_percentage", 0) <= 100
