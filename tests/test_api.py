"""What docs/api.md and the notebook show is what happens, and every public name is on the page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import orchestrator
import reskd
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.load_step import load_step
from reskd.checkpoint import FolderSink, load_weights
from reskd.deploy.predict import open_model, predict
from reskd.errors import BadInput
from tests.support.trained_sweep import copy_of
from tests.support.warm_python import WarmPython

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(trained_sweep: Prepared, demo_root: Path, tmp_path: Path) -> Path:
    """A folder as `make demo` leaves it, with a small sweep: sweeps/demo.yaml, store, data/demo, videos."""
    copied = copy_of(trained_sweep, tmp_path)
    (tmp_path / "sweeps").mkdir()
    copied.sweep.path.rename(tmp_path / "sweeps" / "demo.yaml")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(demo_root)
    (tmp_path / "videos").symlink_to(demo_root / "val")
    return tmp_path


def student_of(trained: Prepared) -> str:
    return next(step.id for step in trained.steps.values() if step.recipe.has_teacher)


def recorded(trained: Prepared, step_id: str) -> tuple[list[str], np.ndarray]:
    """(video, best class's number) of each validation clip, as the evaluation recorded it."""
    arrays = trained.store.logits(step_id, str((trained.store.done(step_id) or {})["protocol"]))
    manifest = trained.manifest(trained.steps[step_id])
    return [manifest.val[number].path for number in arrays["indices"]], arrays["logits"]


def test_a_finished_step_predicts_what_its_evaluation_recorded(trained_sweep: Prepared, demo_root: Path) -> None:
    step_id = student_of(trained_sweep)
    names, logits = recorded(trained_sweep, step_id)
    step = load_step(step_id[:8], store=trained_sweep.store.home)
    assert step.card.recipe == trained_sweep.steps[step_id].payload
    found = list(predict(step, [str(demo_root / name) for name in names], batch_size=3))
    expected = torch.from_numpy(logits).softmax(dim=1)
    np.testing.assert_allclose([each.probabilities for each in found], expected, atol=1e-5)
    assert [each.top(1)[0][0] for each in found] == [step.card.classes[int(row.argmax())] for row in expected]
    of_file = list(predict(open_model(str(trained_sweep.store.weights(step_id))), [demo_root / names[0]]))
    np.testing.assert_allclose(of_file[0].probabilities, found[0].probabilities, atol=1e-6)


def test_a_step_that_is_not_there_and_a_path_that_is_not_are_refused_at_once(trained_sweep: Prepared) -> None:
    with pytest.raises(BadInput, match="'nothing' names 0 steps"):
        load_step("nothing", store=trained_sweep.store.home)
    step = load_step(student_of(trained_sweep), store=trained_sweep.store.home)
    with pytest.raises(BadInput, match="nowhere: no such file"):
        predict(step, ["nowhere"])


def test_every_public_name_is_in_the_table_of_its_package() -> None:
    tables = PAGE.partition("## All public names")[2].partition("`orchestrator`:")
    for package, table in ((reskd, tables[0]), (orchestrator, tables[2])):
        first_columns = "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
        named = set(re.findall(r"`(\w+)[^`]*`", first_columns))
        assert named == set(package.PUBLIC)
    imported = {
        alias.name
        for block in BLOCKS
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module in ("reskd", "orchestrator")
        for alias in node.names
    }
    assert imported <= {*reskd.PUBLIC, *orchestrator.PUBLIC}


@pytest.mark.slow
def test_the_blocks_of_the_page_run(clone: Path, trained_sweep: Prepared, warm_python: WarmPython) -> None:
    step_id = student_of(trained_sweep)
    clips = "torch.randint(0, 256, (4, 4, 3, 64, 64), dtype=torch.uint8)"
    loader = f"import torch\nloader = [({clips}, torch.arange(4))] * 2"
    program = "\n".join([loader, *(block for block in BLOCKS if not block.startswith("# fit_alone.py"))])
    program = program.replace("3f2a", step_id) + "\nprint(len(frame), loss.item() < float('inf'))"
    done = warm_python.run(program, folder=clone, path=ROOT)
    assert done.returncode == 0, done.stderr
    names, logits = recorded(trained_sweep, step_id)
    classes = trained_sweep.manifest(trained_sweep.steps[step_id]).classes
    best = {Path(name).name: classes[row.argmax()] for name, row in zip(names, logits, strict=True)}
    said = dict(re.findall(r"^videos/(\S+) \[\('([^']+)'", done.stdout, re.MULTILINE))
    assert said == best
    assert "baseline" in done.stdout
    assert done.stdout.endswith("True\n")


@pytest.mark.slow
def test_fit_alone_comes_to_the_same_with_one_process_and_with_torchrun(
    tmp_path: Path, demo_root: Path, warm_python: WarmPython
) -> None:
    """In float64, where rounding cannot hide a wrong sum over the workers."""
    (shown,) = (block for block in BLOCKS if block.startswith("# fit_alone.py"))
    program = shown.replace("optim=optim)", 'optim=optim, precision="fp64")')
    assert program != shown
    (tmp_path / "fit_alone.py").write_text(program)
    alone = warm_python.run(
        f"import sys; sys.argv = ['fit_alone.py', {str(demo_root)!r}, 'fits']\n{program}", folder=tmp_path, path=ROOT
    )
    assert alone.returncode == 0, alone.stderr
    launch = "from torch.distributed.run import main; main(sys.argv[1:])"
    together = warm_python.run(
        f"import sys; sys.argv[0] = 'torchrun'; {launch}",
        *("--standalone", "--nproc-per-node", 2, "fit_alone.py", demo_root, "fits2"),
        folder=tmp_path,
        path=ROOT,
    )
    assert together.returncode == 0, together.stderr
    one, two = FolderSink(tmp_path / "fits"), FolderSink(tmp_path / "fits2")
    for name in ("teacher", "clip", "pixel"):
        assert [(sink.started(name) or {})["workers"] for sink in (one, two)] == [1, 2]
        ours, theirs = (load_weights(sink.weights(name))["model"] for sink in (one, two))
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-9, atol=1e-11)
        assert (one.done(name) or {})["metrics"] == pytest.approx((two.done(name) or {})["metrics"])


@pytest.mark.slow
def test_the_notebook_runs_on_a_store(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient
    from nbformat import read, validate

    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(clone / variable))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(NOTEBOOK, as_version=4)
    validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in codes] == [([], None)] * len(codes), "strip the outputs"
    (clone / "notebooks").mkdir()
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(clone / "notebooks")}}).execute()
    said = "".join(output.get("text") or output["data"]["text/plain"] for cell in codes for output in cell.outputs)
    assert "baseline" in said
    assert said.count(".mp4 [(") == 4
    assert said.count("of it 20 x") == 3
    assert re.search(r"\{'clip': [\d.]+, 'pixel': [\d.]+\}$", said)
