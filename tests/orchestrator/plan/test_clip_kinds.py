"""What the clips of a data set cost to decode, by what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.plan.cost_inputs import clip_kind
from orchestrator.plan.device_profiles import ClipKind, shipped_profiles
from reskd.data.manifest import Clip, Manifest
from reskd.data.pack import pack
from reskd.data.pack_record import PackSettings
from reskd.recipe import AnnotationFormat, DataSpec
from tests.support.command_line import call
from tests.support.sweeps import TWO_ROWS


def manifest(*clips: tuple[str, int]) -> Manifest:
    """Clips of these names and sizes in bytes."""
    return Manifest("a", ("x",), tuple(Clip(path, size, "", (0,)) for path, size in clips), ())


@pytest.mark.parametrize(
    ("clips", "kind"),
    [
        ((("a.mp4", 900_000), ("b.webm", 300_000)), "short"),
        ((("a.mp4", 14_000), ("b.mp4", 16_000)), "tiny"),
        ((("a.mp4", 20_000_000), ("b.mkv", 30_000_000)), "long"),
        ((("videos/a.mp4.zip", 20_000_000), ("videos/b.mp4.zip", 9_000_000)), "packed"),
        ((("frames/1", 20_000_000), ("frames/2", 9_000_000)), "packed"),
        ((("a.mp4", 900_000), ("b.mp4", 300_000), ("c", 300_000)), "short"),
    ],
)
def test_files_say_what_they_are(clips: tuple[tuple[str, int], ...], kind: ClipKind) -> None:
    assert clip_kind(DataSpec(), manifest(*clips)) == kind


@pytest.mark.parametrize(
    ("annotations", "kind"),
    [("activitynet", "long"), ("fcvid", "long"), ("kinetics", "short"), ("ssv1", "packed"), ("csv", "short")],
)
def test_without_files_the_format_says_it(annotations: AnnotationFormat, kind: ClipKind) -> None:
    assert clip_kind(DataSpec(annotations=annotations), None) == kind


def test_a_plan_estimates_for_the_clips_that_are_there(
    tmp_path: Path,
    demo_root: Path,
    demo_data: DataSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A training step of the demo's small networks waits for the decoder, so it takes longer with videos."""
    pack(demo_data, tmp_path / "packed", PackSettings(num_frames=4, short_side=64))
    core_ms = {str(kind): value for kind, value in shipped_profiles()["cpu"].decode_core_ms.items()}
    found = {}
    for name, root in (("tiny", demo_root), ("packed", tmp_path / "packed")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(TWO_ROWS.replace("ROOT", str(root)))
        words = ("plan", path, "--store", tmp_path / "store", "--device", "cpu", "--json")
        code, text = call(monkeypatch, capsys, *words)
        assert code == 0
        estimate = json.loads(text)["forecast"]
        told = f"clips of demo: {name}, {core_ms[name]:g} core-ms for 16 frames (--clips packed, tiny, short or long)"
        assert told in estimate["notes"]
        found[name] = estimate["makespan_s"]
    assert found["tiny"] > found["packed"]
