"""How busy a machine and its GPU are during an epoch, under the names of MLflow's own system metrics."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

MEGABYTE = 1e6
PROC = Path("/proc")


class MachineLoad:
    """Load of this machine from one `sample` to the next. Linux tells it; elsewhere only that of the GPU is known."""

    def __init__(self, device: torch.device, *, proc: Path = PROC) -> None:
        """`proc`: the folder in which Linux describes the machine."""
        self._device, self._proc = device, proc
        self._before = self._cpu_times()

    def sample(self) -> dict[str, float]:
        """`system/...`: CPU load in % since the last sample; memory, GPU memory and GPU load now.

        All processes of the machine count, such as loaders and other jobs. What cannot be read is left out.
        """
        found = {**self._cpu(), **self._memory(), **self._gpu()}
        return {f"system/{name}": round(value, 1) for name, value in found.items()}

    def _cpu(self) -> dict[str, float]:
        before, now = self._before, self._cpu_times()
        self._before = now
        if before is None or now is None or now[1] <= before[1]:
            return {}
        return {"cpu_utilization_percentage": 100 * (now[0] - before[0]) / (now[1] - before[1])}

    def _cpu_times(self) -> tuple[int, int] | None:
        """(busy, all) times of all CPUs since the machine started, in clock ticks."""
        with contextlib.suppress(OSError, ValueError):
            first_line = (self._proc / "stat").read_text(encoding="utf-8").partition("\n")[0]
            # user nice system idle iowait irq softirq steal; what follows is part of the first two
            times = [int(number) for number in first_line.split()[1:9]]
            if len(times) >= 5:
                return sum(times) - times[3] - times[4], sum(times)
        return None

    def _memory(self) -> dict[str, float]:
        with contextlib.suppress(OSError, ValueError, LookupError):
            text = (self._proc / "meminfo").read_text(encoding="utf-8")
            lines = (line.partition(":") for line in text.splitlines())
            kilobytes = {name: int(rest.split()[0]) for name, _, rest in lines}
            total = kilobytes["MemTotal"]
            return _usage("system_memory", total - kilobytes["MemAvailable"], total, unit=1024)
        return {}

    def _gpu(self) -> dict[str, float]:
        if self._device.type != "cuda":
            return {}
        free, total = torch.cuda.mem_get_info(self._device)
        found = _usage("gpu_0_memory", total - free, total, unit=1)
        # It needs pynvml, and a driver that tells, which is not so for a part of a GPU.
        with contextlib.suppress(Exception):
            found["gpu_0_utilization_percentage"] = float(torch.cuda.utilization(self._device))
        return found


def _usage(name: str, used: int, total: int, *, unit: int) -> dict[str, float]:
    """Used memory in MB and as a share of the total. Both are given in units of ``unit`` bytes."""
    return {f"{name}_usage_megabytes": used * unit / MEGABYTE, f"{name}_usage_percentage": 100 * used / total}
