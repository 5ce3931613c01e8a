"""Every command, in the order of `reskd --help`. A new command is a file under commands/ and its entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.cli.commands.bench.calibrate import calibrate
from orchestrator.cli.commands.bench.import_file import import_file
from orchestrator.cli.commands.cluster.cancel import cancel
from orchestrator.cli.commands.cluster.logs import logs
from orchestrator.cli.commands.cluster.submit import submit
from orchestrator.cli.commands.data.bench import bench
from orchestrator.cli.commands.data.check import check
from orchestrator.cli.commands.data.make_demo import make_demo
from orchestrator.cli.commands.data.pack import pack
from orchestrator.cli.commands.figures.cost import cost
from orchestrator.cli.commands.figures.curves import curves
from orchestrator.cli.commands.figures.erf import erf
from orchestrator.cli.commands.figures.gain import gain
from orchestrator.cli.commands.figures.gradcam import gradcam
from orchestrator.cli.commands.setup.doctor import doctor
from orchestrator.cli.commands.setup.flops import flops
from orchestrator.cli.commands.setup.init import init
from orchestrator.cli.commands.setup.recipes import recipes
from orchestrator.cli.commands.setup.schema import schema
from orchestrator.cli.commands.steps.classes import classes
from orchestrator.cli.commands.steps.compare import compare
from orchestrator.cli.commands.steps.diff import diff
from orchestrator.cli.commands.steps.evaluate import evaluate
from orchestrator.cli.commands.steps.export import export
from orchestrator.cli.commands.steps.import_model import import_model
from orchestrator.cli.commands.steps.ls import ls
from orchestrator.cli.commands.steps.predict import predict
from orchestrator.cli.commands.steps.rm import rm
from orchestrator.cli.commands.sweeps.plan import plan
from orchestrator.cli.commands.sweeps.publish import publish
from orchestrator.cli.commands.sweeps.report import report
from orchestrator.cli.commands.sweeps.results import results
from orchestrator.cli.commands.sweeps.run import run
from orchestrator.cli.commands.sweeps.status import status
from orchestrator.cli.commands.sweeps.tables import tables
from orchestrator.cli.commands.sweeps.ui import ui
from orchestrator.cli.commands.sweeps.verify import verify
from orchestrator.cli.commands.sweeps.watch import watch
from orchestrator.cli.commands.sweeps.why import why


@dataclass(frozen=True, slots=True)
class Command:
    """A function whose parameters are the command's arguments and options, and whose docstring is its help."""

    function: Callable[..., None]
    example: str
    """Shown below the help."""
    name: str | None = None
    """None: the function's name, with - instead of _."""


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """Commands with a first word in common."""

    name: str
    help: str
    commands: tuple[Command, ...]
    example: str | None = None


COMMANDS: tuple[Command | CommandGroup, ...] = (
    # In the order of a working day.
    Command(plan, "reskd plan sweeps/demo.yaml --set seeds=[0]"),
    Command(run, "reskd run sweeps/demo.yaml --store /shared/reskd"),
    Command(watch, "reskd watch sweeps/demo.yaml --store /shared/reskd"),
    Command(status, "reskd status sweeps/demo.yaml"),
    Command(ls, "reskd ls --store /shared/reskd"),
    Command(tables, "reskd tables sweeps/demo.yaml --check"),
    Command(report, "reskd report sweeps/demo.yaml"),
    Command(results, "reskd results sweeps/demo.yaml --csv results.csv"),
    Command(publish, "reskd publish sweeps/demo.yaml --tracking-uri http://mlflow:5000"),
    Command(ui, "reskd ui --port 5001"),
    Command(verify, "reskd verify --store /shared/reskd"),
    Command(rm, "reskd rm --unused sweeps/demo.yaml"),
    Command(submit, "reskd submit sweeps/demo.yaml --store /shared/reskd --address http://localhost:8265"),
    Command(logs, "reskd logs sweeps/demo.yaml --store /shared/reskd"),
    Command(cancel, "reskd cancel raysubmit_1234 --address http://localhost:8265"),
    Command(evaluate, "reskd eval sweeps/demo.yaml --views 10x3 --frames 32", name="eval"),
    Command(
        import_model,
        "reskd import tsn_r152.pth sweeps/table1_activitynet.yaml --model tsn_resnet152 --resolution 224",
        name="import",
    ),
    Command(compare, "reskd compare 3f9a 77c1 --protocol val-f32-v10x3"),
    Command(classes, "reskd classes 3f9a --csv tables"),
    Command(flops, "reskd flops swin3d_s --resolution 112 --frames 32 --views 12"),
    Command(export, "reskd export 3f2a --format onnx"),
    Command(predict, "reskd predict 3f2a ~/videos --csv classes.csv"),
    CommandGroup(
        "figures",
        "Draw what networks look at, learning curves, gains by class, and accuracy against cost.",
        (
            Command(erf, "reskd figures erf 3f2a 77c1 --clips 16"),
            Command(gradcam, "reskd figures gradcam 3f2a 77c1 --videos clip.mp4 --class swimming"),
            Command(curves, "reskd figures curves sweeps/demo.yaml"),
            Command(gain, "reskd figures gain sweeps/demo.yaml"),
            Command(cost, "reskd figures cost sweeps/demo.yaml"),
        ),
        example="reskd figures gradcam 3f2a 77c1",
    ),
    CommandGroup(
        "bench",
        "Measure this machine, or import measurements of another.",
        (
            Command(import_file, "reskd bench import h200.json", name="import"),
            Command(calibrate, "reskd bench calibrate --data sweeps/demo.yaml"),
        ),
        example="reskd bench import h200.json",
    ),
    Command(why, 'reskd why sweeps/demo.yaml levels "pixel-level MSE" test/top1'),
    Command(diff, "reskd diff 6208b5ed 9f4fc9f9"),
    Command(init, "reskd init my_sweep.yaml --data /where/my/videos/are"),
    Command(recipes, "reskd recipes tsn_activitynet"),
    Command(schema, "reskd schema sweeps/sweep.schema.json"),
    Command(doctor, "reskd doctor --store /shared/reskd"),
    CommandGroup(
        "data",
        "Check, pack and measure your videos, or make the demo's.",
        (
            Command(make_demo, "reskd data make-demo data/demo"),
            Command(bench, "reskd data bench sweeps/your_videos.yaml data/packed --clips-per-s 300"),
            Command(pack, "reskd data pack sweeps/your_videos.yaml data/packed"),
            Command(check, "reskd data check sweeps/your_videos.yaml"),
        ),
    ),
)
