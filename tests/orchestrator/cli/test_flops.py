"""`reskd flops`: our counts beside the published ones, and of any network."""

from __future__ import annotations

import json
import sys

import pytest

from orchestrator.cli import main as cli
from orchestrator.cli.commands.setup.flops import published_costs


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and everything printed."""
    monkeypatch.setattr(sys, "argv", ["reskd", "flops", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out + captured.err


def test_every_published_cost_is_ours_within_a_percent() -> None:
    costs = list(published_costs())
    assert {cost.table for cost in costs} == {"table1", "table3", "table4"}
    for cost in costs:
        assert cost.gmacs == pytest.approx(cost.published, rel=0.01), cost


def test_only_transformers_cost_more_with_attention_counted_and_a_swin_s_a_fifth_more() -> None:
    for cost in published_costs():
        more = cost.gmacs_with_attention / cost.gmacs - 1
        assert more == pytest.approx(0.21 if cost.model == "swin3d_s" else 0, abs=0.01)


def test_the_command_shows_published_and_own_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, text = call(monkeypatch, capsys)
    assert code == 0
    (line,) = [line for line in text.splitlines() if "Swin-S 224" in line]
    for part in ("table3", "swin3d_s, 12 x 32 frames of 224", " 1639 ", "+0.01 %", " 1990 "):
        assert part in line
    assert "15 of 15 published figures within 1%" in text


def test_a_network_by_name_is_counted_for_any_clip(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--resolution", 112, "--frames", 32, "--views", 12)
    code, text = call(monkeypatch, capsys, "swin3d_s", *options, "--json")
    counted = json.loads(text)
    assert code == 0
    assert counted["gmacs"] == pytest.approx(421, rel=0.01)
    assert counted["gflops"] / 2 == pytest.approx(507, rel=0.01) == counted["gmacs_with_attention"]
    code, text = call(monkeypatch, capsys, "tsn_resnet50", "--frames", 1)
    assert code == 0
    assert "1 x 1 frames of 224 pixels" in text
    assert "4.12" in text


def test_a_name_that_is_no_model_is_bad_input_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = call(monkeypatch, capsys, "swin3d_x")
    assert code == 2
    assert "model.name: 'swin3d_x' is not a model; did you mean 'swin3d_" in text
