"""The check of bit identity finds none that differ, and finds those that do."""

from __future__ import annotations

import pytest
import torch

from benchmarks.identity import differing, main
from reskd.runtime.determinism import deterministic
from reskd.training.cohort import Cohort
from tests.support.benchmark_options import SMALL_COHORT


@pytest.mark.parametrize(
    ("rows", "num_rows"), [("table4", 1), pytest.param("sizes table4 table5", 3, marks=pytest.mark.slow)]
)
def test_members_keep_their_bits_alone_and_again(capsys: pytest.CaptureFixture[str], rows: str, num_rows: int) -> None:
    assert main([*SMALL_COHORT, "--rounds", "2", "--modes", "eval", "--rows", *rows.split()]) == 0
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line[2:] for line in lines[1:]] == [["none", "none"]] * num_rows


def test_a_member_that_depends_on_its_neighbours_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Cohort.step

    def mixed(self, number, groups):
        report = step(self, number, groups)
        if len(self.members) > 1:
            next(self.members[0].model.parameters()).data.add_(1e-6)
        return report

    monkeypatch.setattr(Cohort, "step", mixed)
    assert main([*SMALL_COHORT, "--rounds", "1", "--modes", "eval", "--rows", "table4"]) == 1
    assert "| none | 1 of 2 |" in capsys.readouterr().out
    assert differing(["a", "b"], ["a", "b"]) == "none"


def test_a_gpu_gets_deterministic_kernels_without_autotuning_and_a_cpu_stays_as_it_is() -> None:
    def settings() -> tuple[bool, bool, bool, bool]:
        cudnn, fill = torch.backends.cudnn, torch.utils.deterministic.fill_uninitialized_memory
        return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, fill

    before = settings()
    with deterministic(torch.device("cpu"), on=True):
        assert settings() == before
    with deterministic(torch.device("cuda"), on=True):
        assert settings() == (True, True, False, False)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    with deterministic(torch.device("cuda"), on=False):
        assert settings() == (False, False, True, False)
    assert settings() == before
