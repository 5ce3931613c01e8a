"""`make gpu`'s command: every part runs, one that fails stops no other, and a second call does what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import CUT_SHORT, main
from benchmarks.gpu_parts import Figure, Setting
from reskd.files import read_json, write_json
from tests.support.warm_python import WarmPython

ROOT = Path(__file__).parents[2]
ELSEWHERE = ("av", "decord", "ray", "mlflow", "pandas", "pydantic", "yaml", "psutil", "boto3", "sklearn", "matplotlib")
BLOCKED = f"""
import sys
sys.modules.update(dict.fromkeys({ELSEWHERE!r}))  # to import one of them is a ModuleNotFoundError now
import torch
from benchmarks.gpu import main
from benchmarks.gpu_parts import Setting, parts
which, *arguments = sys.argv[1:]
named = parts(Setting(torch.device("cpu"), is_quick=True))
sys.exit(main(arguments, named=None if which == "all" else {{name: named[name] for name in which.split()}}))
"""


def content_of(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    return read_json(path) or {}


@pytest.mark.parametrize(
    ("which", "kinds"),
    [
        ("worker/taught/eval throughput/tuned-eager/24", {"worker", "throughput"}),
        pytest.param(
            "all", {"identity", "worker", "cohort", "throughput", "calibrate"}, marks=pytest.mark.slow, id="all"
        ),
    ],
)
def test_every_part_runs_where_torch_and_torchvision_are_all_there_is(
    tmp_path: Path, warm_python: WarmPython, which: str, kinds: set[str]
) -> None:
    options = (which, "--device", "cpu", "--quick", "--out", tmp_path)
    ended = warm_python.run(BLOCKED, *options, folder=tmp_path, path=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    content = content_of(tmp_path)
    assert {name.partition("/")[0] for name in content["parts"]} == kinds
    assert all(part["figures"] and part["seconds"] >= 0 for part in content["parts"].values())
    if which == "all":
        assert content["parts"]["identity/sizes/eval"]["figures"][0]["is_met"] is True
        assert "differ from jobs of one: none (goal none: met)" in ended.stdout


def test_a_part_that_fails_is_on_record_and_the_others_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []

    def good(setting: Setting) -> list[Figure]:
        calls.append("good")
        return [Figure(what="speed", value=3.0, goal="2", is_met=True)]

    def bad(setting: Setting) -> list[Figure]:
        calls.append("bad")
        raise ValueError("no such kernel")

    arguments = ["--device", "cpu", "--out", str(tmp_path)]
    assert main(arguments, named={"bad": bad, "good": good}) == 1
    assert calls == ["bad", "good"]
    parts = content_of(tmp_path)["parts"]
    assert parts["bad"]["error"] == "ValueError: no such kernel"
    assert parts["good"]["figures"] == [{"what": "speed", "value": 3.0, "goal": "2", "is_met": True}]
    printed = capsys.readouterr().out
    assert "bad [0 s] FAILED: ValueError: no such kernel" in printed
    assert "good [0 s] speed: 3 (goal 2: met)" in printed

    # What has figures is not measured again; what is new goes before what failed.
    assert main(arguments, named={"bad": good, "good": bad, "new": good}) == 0
    assert calls == ["bad", "good", "good", "good"]
    assert list(content_of(tmp_path)["parts"]) == ["bad", "good", "new"]


def test_a_part_in_which_the_process_was_stopped_comes_last_the_next_time(tmp_path: Path) -> None:
    order: list[str] = []

    def stopped(setting: Setting) -> list[Figure]:
        order.append("first")
        if len(order) == 1:
            raise KeyboardInterrupt
        return []

    def second(setting: Setting) -> list[Figure]:
        order.append("second")
        return []

    arguments = ["--device", "cpu", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        main(arguments, named={"first": stopped, "second": second})
    assert content_of(tmp_path)["parts"] == {"first": {"error": CUT_SHORT}}
    assert main(arguments, named={"first": stopped, "second": second}) == 0
    assert order == ["first", "second", "first"]


def test_figures_of_another_torch_are_not_gone_on_with(tmp_path: Path) -> None:
    named = {"one": lambda setting: [Figure(what="speed", value=1.0)]}
    arguments = ["--device", "cpu", "--out", str(tmp_path)]
    assert main(arguments, named=named) == 0
    (path,) = tmp_path.glob("*.json")
    write_json(path, content_of(tmp_path) | {"torch": "1.0", "parts": {"old": {"figures": []}}})
    assert main(arguments, named=named) == 0
    assert list(content_of(tmp_path)["parts"]) == ["one"]
