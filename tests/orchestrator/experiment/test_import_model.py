"""A model from a hand-made checkpoint in mmaction2's layout: as a row, as a teacher, and imported by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator.experiment import bound_sweep
from orchestrator.experiment.bound_sweep import Prepared, check_before_start, prepare
from orchestrator.experiment.build_tables import build_tables
from orchestrator.experiment.import_model import prepare_import
from orchestrator.experiment.provenance_chain import chain_of
from orchestrator.experiment.smoke import cut_down
from orchestrator.store.step_record import read_step, records_from_store
from orchestrator.store.store import Store
from orchestrator.tables.write_files import table_markdown
from reskd.data.dataset import VideoDataset
from reskd.data.manifest import Manifest, build_manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec
from tests.support.command_line import call
from tests.support.foreign_files import Recognizer, save_mini
from tests.support.trained_sweep import fits, train

SWEEP = """
question: Does a model that was trained elsewhere teach?
base:
  data: {name: demo, root: ROOT, num_frames: 2, short_side: 32, crop_size: 32, flip: false}
  model: {name: tsn_mini10, resolution: 16}
  optim: {epochs: 1, batch_size: 16, group_size: 8, lr: .05}
  kd.level: pixel
  teacher: {checkpoint: FILE, model: {name: tsn_mini10, resolution: 32}}
rows:
  chain:
    - {row: taught}
    - {row: official, checkpoint: FILE, model.name: tsn_mini10, model.resolution: 32}
seeds: [0, 1]
tables:
  one: {rows: row, columns: [test/top1, GMACs], delta_to: official}
"""
NUM_CLASSES = 6


def written(folder: Path, root: Path, *, num_classes: int = NUM_CLASSES) -> Path:
    file = save_mini(folder / "official.pth", num_classes=num_classes)
    path = folder / "official.yaml"
    path.write_text(SWEEP.replace("ROOT", str(root)).replace("FILE", str(file)))
    return path


@pytest.fixture(scope="module")
def trained(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The sweep planned and its steps made one by one: the import, then its students."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("official")
    prepared = prepare(written(folder, demo_root), store=Store(folder / "store"))
    check_before_start(prepared)
    for fit in fits(prepared):
        train(fit, prepared.store)
    return prepared


def test_a_model_that_is_only_tested_needs_no_batch_of_training_clips(tmp_path: Path, demo_root: Path) -> None:
    path = written(tmp_path, demo_root)
    path.write_text(path.read_text().replace("    - {row: taught}\n", "").replace("delta_to: official", "plot: null"))
    large = ["optim.batch_size=64"]  # of 36 clips
    prepared = prepare(path, changes=large, store=Store(tmp_path / "store"))
    check_before_start(prepared)
    [fit] = fits(prepared)
    train(fit, prepared.store)
    assert prepared.store.is_finished(imported_id(prepared))


def imported_id(prepared: Prepared) -> str:
    return next(step.id for step in prepared.steps.values() if step.recipe.is_imported)


def test_the_import_is_planned_once_before_its_students_and_is_no_training(
    tmp_path: Path, demo_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, demo_root)
    prepared = prepare(path, store=Store(tmp_path / "store"))
    plan = prepared.plan()
    first, *students = plan.jobs
    assert first.members == (imported_id(prepared),)
    assert [job.depends_on for job in students] == [(first.id,), (first.id,)]
    assert plan.steps[imported_id(prepared)].verdict == "import"
    code, text = call(monkeypatch, capsys, "plan", path, "--store", tmp_path / "store")
    words = " ".join(text.split())
    assert code == 0
    assert "3 cells, 3 steps: 1 import, 2 waiting; 3 jobs to run" in words
    assert "does not say the order of its classes, which must be the data set's" in words
    assert first.cost < students[0].cost


def test_an_imported_step_tests_the_network_of_the_file(trained: Prepared) -> None:
    store, step_id = trained.store, imported_id(trained)
    done = store.done(step_id)
    assert done is not None
    assert (done["epochs"], done["imported"]["layout"], store.metrics(step_id)) == (0, "mmaction2", [])
    assert done["imported"]["file"].endswith("official.pth")
    torch.manual_seed(0)
    theirs = Recognizer(num_classes=NUM_CLASSES)  # the network that the file was made from
    step = trained.steps[step_id]
    manifest, data = trained.manifest(step), step.recipe.data
    clips = VideoDataset(
        manifest.val, root=Path(str(data.root)), spec=data, num_classes=NUM_CLASSES, split="val", data_seed=0
    )
    stored = store.logits(step_id, done["protocol"])
    assert stored["logits"].shape == (7, NUM_CLASSES)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for index, logits in zip(stored["indices"], stored["logits"], strict=True):
        clip = clips[0, int(index)].clip  # at the resolution of the network
        assert clip is not None
        with torch.no_grad():
            expected = theirs(((clip.float() / 255 - mean) / std).reshape(1, 2, 3, 32, 32))
        torch.testing.assert_close(torch.from_numpy(logits)[None], expected, rtol=1e-4, atol=1e-4)


def test_it_stands_in_tables_and_in_mlflow_as_what_it_is(trained: Prepared) -> None:
    records = records_from_store(trained.store, trained.steps)
    (table,) = build_tables(trained, records)
    text = table_markdown(table)
    assert "official: imported from official.pth, trained elsewhere; one model without seeds; " in text
    entry = table.entries["official", "test/top1"]
    top1 = (trained.store.done(imported_id(trained)) or {})["metrics"]["test/top1"]
    assert entry.estimate.by_seed == ((0, pytest.approx(100 * top1)),)
    assert (entry.state, table.entries["taught", "test/top1"].n) == ("complete", 2)
    delta = table.entries["taught", "test/top1"].delta
    assert delta is not None
    students = dict(table.entries["taught", "test/top1"].estimate.by_seed)
    assert dict(delta.by_seed) == {seed: pytest.approx(students[seed] - 100 * top1) for seed in (0, 1)}
    chain = chain_of(trained, table="one", row="official", column="test/top1")
    (told,) = chain["seeds"]
    assert told["step"]["file"].endswith("mmaction2's names")
    content = read_step(trained.store, trained.steps[imported_id(trained)], steps=trained.steps)
    assert content is not None
    assert content.tags["reskd.kind"] == "imported"
    assert content.name == "official, imported"
    assert "imported from official.pth, trained elsewhere" in content.tags["mlflow.note.content"]
    student = next(step for step in trained.steps.values() if step.recipe.has_teacher)
    taught = read_step(trained.store, student, steps=trained.steps)
    assert taught is not None
    assert "pixel-level KD from the imported tsn_mini10 at 32 px" in taught.tags["mlflow.note.content"]


def test_eval_judges_it_again(
    trained: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step_id = imported_id(trained)
    code, text = call(monkeypatch, capsys, "eval", step_id, "--views", "2x1", "--store", trained.store.home)
    assert (code, "1 evaluated" in text, "as imported" in text) == (0, True, True)
    assert "val-f2-v2x1" in trained.store.evaluations(step_id)


def test_import_by_hand_makes_the_step_that_the_sweep_wants(
    trained: Prepared,
    tmp_path: Path,
    demo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, store = written(tmp_path, demo_root), Store(tmp_path / "store")
    classes = tmp_path / "classes.txt"
    names = trained.manifest(trained.steps[imported_id(trained)]).classes
    options = ("--model", "tsn_mini10", "--resolution", "32", "--store", store.home, "--classes", classes)
    command = ("import", tmp_path / "official.pth", path, *options)
    classes.write_text("\n".join((names[1], names[0], *names[2:])))
    code, text = call(monkeypatch, capsys, *command)
    assert code == 2
    assert f"class 0 is {names[1]!r}, and {names[0]!r} in the data set" in text
    classes.write_text("\n".join(names))
    code, text = call(monkeypatch, capsys, *command)
    step_id = imported_id(trained)
    assert (code, store.is_finished(step_id)) == (0, True)
    assert f"imported: step {step_id}" in text
    assert "row 'official'" in text
    by_run, by_hand = trained.store.done(step_id) or {}, store.done(step_id) or {}
    assert (by_hand["state_hash"], by_hand["metrics"]) == (by_run["state_hash"], by_run["metrics"])
    code, text = call(monkeypatch, capsys, *command)
    assert (code, f"was there already: step {step_id}" in text) == (0, True)
    assert prepare(path, store=store).plan().steps[step_id].verdict == "done"


def test_import_by_hand_looks_through_the_videos_once(
    tmp_path: Path, demo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def build(spec: DataSpec, *, cache: Path | None = None) -> Manifest:
        seen.append(spec.name)
        return build_manifest(spec, cache=cache)

    monkeypatch.setattr(bound_sweep, "build_manifest", build)
    row = {"row": "by hand", "checkpoint": str(tmp_path / "official.pth"), "model.resolution": 32}
    prepare_import(written(tmp_path, demo_root), changes=[], row=row, store=Store(tmp_path / "store"))
    assert seen == ["demo"]


def test_a_file_of_other_classes_is_refused_before_anything_starts(tmp_path: Path, demo_root: Path) -> None:
    prepared = prepare(written(tmp_path, demo_root, num_classes=400), store=Store(tmp_path / "store"))
    with pytest.raises(BadInput, match=r"official\.yaml: row 'official': .*official\.pth: .* 400 classes .* set 6 "):
        check_before_start(prepared)


def test_a_foreign_file_without_its_network_names_the_way_out(tmp_path: Path, demo_root: Path) -> None:
    path = written(tmp_path, demo_root)
    path.write_text(path.read_text().replace(", model: {name: tsn_mini10, resolution: 32}", ""))
    prepared = prepare(path, store=Store(tmp_path / "store"))
    with pytest.raises(BadInput, match=r"not a weights\.pt of reskd.*teacher: \{checkpoint: FILE, model: \{name: "):
        check_before_start(prepared)


def test_in_a_smoke_run_a_small_network_stands_for_the_file(tmp_path: Path, demo_root: Path) -> None:
    path = written(tmp_path, demo_root)
    ((small, store),) = cut_down([path], changes=[], store=Store(tmp_path / "store"))
    steps = prepare(small, store=store).steps
    assert not any(step.recipe.is_imported for step in steps.values())
    official = next(step for step in steps.values() if ("official", 0) in step.cells)
    student = next(step for step in steps.values() if ("taught", 0) in step.cells)
    assert student.teacher_id == official.id
