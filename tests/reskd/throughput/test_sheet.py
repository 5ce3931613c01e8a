import json
from pathlib import Path

import pytest
import torch

from reskd.models.catalogue import MODELS
from reskd.throughput.__main__ import main
from reskd.throughput.paths import PATHS, EngineRefusal, make_ready, start_engine
from reskd.throughput.sheet import Plan, new_sheet, table_of
from tests.support.small_files import small_files

CPU = torch.device("cpu")
SHORT = ["--model", "tsn_mini10", "--classes", "5", "--frames", "2", "--device", "cpu", "--seconds", "0.2"]


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [("fp32", None, 1e-5), ("tuned-eager", torch.float32, 1e-4)])
def test_a_path_gives_the_networks_logits(name, dtype, tolerance):
    model = MODELS["tsn_mini10"].build(num_classes=5, dropout=0.5)
    network = make_ready(model, PATHS[name], device=CPU, dtype=dtype)
    clips = network.clips(batch_size=2, num_frames=3, resolution=24)
    with torch.inference_mode():
        forward = start_engine(network, "eager", clips, compile_mode="default")
        torch.testing.assert_close(forward(), model.eval()(clips).clip_logits, rtol=tolerance, atol=tolerance)
    assert clips.flatten(0, 1).is_contiguous(memory_format=torch.channels_last) == PATHS[name].is_tuned


def test_a_cuda_graph_on_a_cpu_is_refused_with_the_reason():
    network = make_ready(MODELS["tsn_mini10"].build(num_classes=5, dropout=0.5), PATHS["tuned-graph"], device=CPU)
    with pytest.raises(EngineRefusal, match="need a CUDA device"):
        start_engine(network, "graph", network.clips(batch_size=1, num_frames=1, resolution=24), compile_mode="default")


def test_the_file_holds_every_measurement_and_what_it_was_taken_on(tmp_path, capsys):
    file = tmp_path / "speed.json"
    asked = ["--resolutions", "32", "24", "--batch", "3", "--max-batch", "0", "--paths", "fp32", "tuned-graph"]
    main([*SHORT, *asked, "--json", str(file)])
    sheet = json.loads(file.read_text())
    assert (sheet["format"], sheet["model"], sheet["num_frames"]) == ("reskd.throughput/1", "tsn_mini10", 2)
    assert sheet["roofline"] is None, "no peaks are known of a CPU"
    assert [(one["path"], one["resolution"], one["batch_size"]) for one in sheet["results"]] == [
        ("fp32", 32, 3),
        ("fp32", 24, 3),
        ("tuned-graph", 32, 3),
        ("tuned-graph", 24, 3),
    ]
    plain, tuned = sheet["results"][0], sheet["results"][2]
    assert plain["clips_per_s_low"] <= plain["clips_per_s"] <= plain["clips_per_s_high"]
    assert (plain["engine"], plain["refusal"], plain["logits_error"]) == ("eager", None, 0.0)
    assert tuned["engine"] == "eager", "the next best that runs here"
    assert "need a CUDA device" in tuned["refusal"]
    assert 0 < tuned["logits_error"] < 0.1
    shown = capsys.readouterr().out
    assert "tuned-graph" in shown
    assert "* CUDA graphs need a CUDA device" in shown


def test_type_and_compile_mode_of_the_tuned_paths_can_be_chosen(tmp_path):
    file = tmp_path / "speed.json"
    chosen = ["--dtype", "float32", "--compile-mode", "default", "--threads", "1", "--repeats", "1"]
    asked = ["--resolutions", "24", "--batch", "1", "--max-batch", "0", "--paths", "tuned-eager"]
    main([*SHORT, *asked, *chosen, "--json", str(file)])
    sheet = json.loads(file.read_text())
    assert (sheet["compile_mode"], sheet["num_threads"]) == ("default", 1)
    assert [(one["dtype"], one["repeats"]) for one in sheet["results"]] == [("float32", 1)]


def test_a_gpus_roofline_is_its_calibrated_profiles_and_the_sheet_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr("reskd.throughput.sheet.device_name", lambda device: "NVIDIA H200")
    plan = Plan(
        model="tsn_mini10",
        num_classes=5,
        num_frames=2,
        resolutions=(24,),
        batch_size=2,
        max_batch=0,
        paths=("fp32",),
        seconds=0.2,
        repeats=2,
        dtype=None,
        compile_mode="default",
    )
    shipped = new_sheet(plan, device=torch.device("cuda"), profiles=tmp_path)
    assert "roofline: profile h200 (shipped, not measured here), 790 TFLOP/s of bf16, 4.3 TB/s" in table_of(shipped)
    profile = "matches: [H200]\nflops: {bf16: 7.0e14}\nbytes_per_s: 4.0e12\nsource: measured on a day\n"
    (tmp_path / "h200.yaml").write_text(profile)
    measured = new_sheet(plan, device=torch.device("cuda"), profiles=tmp_path)
    assert measured.head["roofline"] == {
        "name": "h200",
        "flops_per_s": 7e14,
        "bytes_per_s": 4e12,
        "source": "measured on a day",
    }
    assert "roofline: profile h200 (measured on a day), 700 TFLOP/s of bf16, 4 TB/s" in table_of(measured)


def test_the_profiles_are_those_of_the_default_store_or_of_a_named_folder(tmp_path, monkeypatch, capsys):
    def seen(*options):
        main([*SHORT, "--resolutions", "24", "--batch", "1", "--max-batch", "0", "--paths", "fp32", *options])
        return folders.pop()

    folders = []

    def watched(plan, *, device, profiles):
        folders.append(profiles)
        return new_sheet(plan, device=device, profiles=profiles)

    monkeypatch.setattr("reskd.throughput.__main__.new_sheet", watched)
    monkeypatch.delenv("RESKD_STORE", raising=False)
    assert seen() == Path("store/devices")
    monkeypatch.setenv("RESKD_STORE", str(tmp_path))
    assert seen() == tmp_path / "devices"
    monkeypatch.setenv("RESKD_STORE", "s3://bucket/prefix")
    assert seen() is None
    assert seen("--devices", str(tmp_path)) == tmp_path


def test_the_search_names_a_best_batch_beside_the_one_asked_for(tmp_path):
    file = tmp_path / "speed.json"
    main([*SHORT, "--resolutions", "24", "--batch", "3", "--max-batch", "4", "--paths", "fp32", "--json", str(file)])
    asked, best = json.loads(file.read_text())["results"]
    assert (asked["batch_size"], asked["is_best_batch"], best["is_best_batch"]) == (3, False, True)
    assert best["batch_size"] in (1, 2, 4)


def test_a_batch_that_memory_does_not_hold_is_skipped_with_the_figures(tmp_path, capsys):
    file = tmp_path / "speed.json"
    huge = ["--resolutions", "224", "--batch", str(10**7), "--max-batch", "0", "--paths", "fp32"]
    main([*SHORT, *huge, "--json", str(file)])
    sheet = json.loads(file.read_text())
    assert sheet["results"] == []
    assert "GiB for 10000000 clips" in sheet["skipped"][0]["reason"]
    assert "not measured: fp32, 224 px" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "nope"], "'nope' is not a model"),
        (["--device", "cuda:99"], "sees no cuda:99 here"),
        (["--device", "tpu"], "is no device"),
        (["--batch", "0"], "no whole number from 1 on"),
        (["--devices", "/not/there"], "/not/there is no folder"),
        (["--seconds", "-1"], "no positive number of seconds"),
    ],
)
def test_bad_options_end_with_one_line(options, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow  # benchmarks/test_gpu.py has a process of the kind in every run
def test_it_needs_torch_and_torchvision_alone(warm_python, tmp_path):
    """A fresh process in which everything else that the project installs is refused."""
    others = ["av", "decord", "sklearn", "scipy", "matplotlib", "ray", "mlflow", "pandas", "pydantic", "rich", "typer"]
    program = f"""
import sys
from pathlib import Path
for name in {others!r}:
    sys.modules[name] = None
from reskd.throughput.__main__ import main
main({[*SHORT, "--resolutions", "24", "--batch", "1", "--max-batch", "0", "--paths", "fp32"]!r})
"""
    ended = warm_python.run(program, folder=tmp_path, path=Path(__file__).parents[3])
    assert ended.returncode == 0, ended.stderr


def test_a_measurement_that_cannot_be_written_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*SHORT, "--resolutions", "24", "--batch", "1", "--max-batch", "0", "--paths", "fp32"]
    with small_files(20), pytest.raises(SystemExit) as stopped:
        main([*options, "--json", str(tmp_path / "a.json")])
    printed = capsys.readouterr()
    assert stopped.value.code == 1
    assert "fp32" in printed.out
    assert f"reskd.throughput: {tmp_path}/a.json: File too large" in printed.err
