"""Annotation lists of every format, small and valid, and what may be made of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from reskd.data.manifest import build_manifest
from reskd.recipe import AnnotationFormat, DataSpec
from tests.support.fuzz.mutate import Mutator, places

KINETICS = "label,youtube_id,time_start,time_end,split\n"


@dataclass(frozen=True, kw_only=True)
class Valid:
    """A small data set in one format."""

    lists: Mapping[str, str]
    """Annotation files by name. One of them is made wrong."""
    videos: tuple[str, ...]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields of its DataSpec."""


def _entry(subset: str, *labels: str) -> dict[str, object]:
    segments = [{"label": label, "segment": [number, number + 1.5]} for number, label in enumerate(labels)]
    return {"subset": subset, "duration": 9.0, "annotations": segments, "url": "", "resolution": "1x1"}


ACTIVITYNET = {"a": _entry("training", "x", "y"), "-b": _entry("training", "y"), "c": _entry("validation", "x")}
TEMPLATES = [
    {"id": str(n), "label": "a box up", "template": f"Moving [something] {w}"} for n, w in ((1, "up"), (2, "on"))
]

VALID: dict[AnnotationFormat, Valid] = {
    "csv": Valid(
        lists={
            "train.csv": 'path,label,label\na.mp4,x,y\n"b,c.mp4",y,\nd/e.webm,z,x\n',
            "val.csv": "path,label\nv.mp4,x\nd/w.mp4,y\n",
            "classes.txt": "x\ny\nz\n",
        },
        videos=("a.mp4", "b,c.mp4", "d/e.webm", "v.mp4", "d/w.mp4"),
        fields={"classes": "classes.txt"},
    ),
    "folders": Valid(
        lists={}, videos=("train/x/a.mp4", "train/x/b.mkv", "train/y/c.mp4", "val/x/d.mp4", "val/y/e.mov")
    ),
    "activitynet": Valid(
        lists={"anet.json": json.dumps({"version": "1.3", "database": ACTIVITYNET})},
        videos=("v_a.mp4", "deep/v_-b.mkv", "v_c.webm"),
        fields={"train": "anet.json", "val": "anet.json"},
    ),
    "fcvid": Valid(
        lists={
            "m/FCVID_VideoName_TrainTestSplit.txt": "x/a.mp4\ttrain\nx/b c.mp4\ttrain\ny/d.mp4\ttest\n",
            "m/FCVID_Label.txt": "1\t0\t0\n0\t1\t1\n1\t0\t1\n",
            "m/classes.txt": "x\ny\nz\n",
        },
        videos=("videos/x/a.mp4", "videos/x/b c.mkv", "videos/y/d.mp4"),
        fields={
            "train": "m/FCVID_VideoName_TrainTestSplit.txt",
            "val": "m/FCVID_VideoName_TrainTestSplit.txt",
            "classes": "m/classes.txt",
        },
    ),
    "kinetics": Valid(
        lists={
            "train.csv": KINETICS + '"x, y",-a_b,5,15,train\nz,cd,0,10,train\nz,held,1,2,test\n',
            "val.csv": KINETICS + "z,q,10,20,validate\n",
        },
        videos=("train/x/-a_b_000005_000015.mp4", "cd_000000_000010.mkv", "q_000010_000020.webm"),
    ),
    "mini_kinetics": Valid(
        lists={
            "train.csv": "images/x y/a_000001_000011 300 0\nimages/z/b_000001_000011 250 2\n",
            "val.csv": "c_000001_000011 300 1\n",
            "classes.txt": "x\ny\nz\n",
        },
        videos=("a_000001_000011.mp4", "b_000001_000011.mp4", "c_000001_000011.mp4"),
    ),
    "ssv2": Valid(
        lists={
            "train.csv": json.dumps(TEMPLATES),
            "val.csv": json.dumps([{**TEMPLATES[0], "id": "3"}]),
            "labels.json": json.dumps({"Moving something up": "1", "Moving something on": "0"}),
        },
        videos=("videos/1.webm", "videos/2.webm", "3.mp4"),
        fields={"classes": "labels.json"},
    ),
    "ssv1": Valid(
        lists={"train.csv": "1;Moving something up\n2;Moving something on\n", "val.csv": "3;Moving something up\n"},
        videos=("1.webm", "2.mp4", "3.mp4"),
    ),
}


def lay_mutated(format: AnnotationFormat, random: Random, folder: Path) -> DataSpec:
    """Lay a data set of this format into the folder, with something wrong in it."""
    valid, mutator = VALID[format], Mutator(random)
    for path in valid.videos:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    for name, text in valid.lists.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    fields = dict(valid.fields)
    if format == "folders":
        fields |= {"train": "train", "val": "val"}
        for _ in range(random.randint(1, 3)):
            mutate_folder(folder, mutator)
    else:
        name = random.choice(list(valid.lists))
        mutate_file(folder / name, valid.lists[name], mutator)
    if format == "mini_kinetics" and random.random() < 0.5:
        fields["classes"] = "classes.txt"
    # Without a limit most mistakes end as a missing video.
    limit, is_allowed = random.choice((0.0, 1e6)), random.random() < 0.2
    return DataSpec(root=str(folder), annotations=format, allow_missing=limit, allow_outside=is_allowed, **fields)


def read(spec: DataSpec) -> str:
    manifest = build_manifest(spec)
    return f"{len(manifest.train)} + {len(manifest.val)} videos, {len(manifest.classes)} classes"


def mutate_file(path: Path, text: str, mutator: Mutator) -> None:
    random = mutator.random
    if random.random() < 0.02:
        path.unlink()
        special(path, random)
        return
    if text[0] in "[{" and random.random() < 0.6:
        tree = json.loads(text)
        keys = sorted({key for place in places(tree) for key in place if isinstance(key, str)})
        tree = mutator.tree(tree, keys=keys)
        text = json.dumps(tree) if random.random() < 0.9 else mutator.text(json.dumps(tree))
    elif random.random() < 0.8:
        text = mutator.text(text)
    path.write_bytes(mutator.content(text) if random.random() < 0.25 else text.encode("utf-8", "surrogatepass"))


def mutate_folder(folder: Path, mutator: Mutator) -> None:
    """Something added, renamed, taken away or turned into something else, somewhere in the folder."""
    random = mutator.random
    found = sorted(path for path in folder.rglob("*") if path.name not in ("loop", "back"))
    path = random.choice(found or [folder / "train"])
    try:
        way = random.randrange(6)
        if way == 0:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif way == 1:
            path.rename(path.with_name(name_of(mutator) + random.choice(("", path.suffix))))
        elif way == 2:
            special(path.with_name(name_of(mutator) + random.choice(("", ".mp4"))), random)
        elif way == 3:
            (path.parent / f"{name_of(mutator)}{random.choice(('.mpg', '.m4v', '.txt', '.MP4', '.zip', ''))}").touch()
        elif way == 4:
            (path.parent / name_of(mutator) / name_of(mutator)).mkdir(parents=True)
        else:
            (path.parent / random.choice(("loop", "back"))).symlink_to(random.choice((".", "..", "loop", folder, "/")))
    except (OSError, ValueError):  # a name that no file can have, or that is there
        (path.parent / "other.mp4").touch()


def name_of(mutator: Mutator) -> str:
    return mutator.token().replace("/", "_").encode("utf-8", "surrogateescape")[:200].decode("utf-8", "surrogateescape")


def special(path: Path, random: Random) -> None:
    """Put something that is no file of text at the path."""
    way = random.randrange(8)
    if way == 0:
        os.mkfifo(path)
    elif way == 1:
        with socket.socket(socket.AF_UNIX) as server, folder_of(path):
            server.bind(path.name)
    elif way == 2:
        path.symlink_to(random.choice(("/dev/zero", "/dev/full", "/dev/stdin", "/dev/urandom", "/dev/tty")))
    elif way == 3:
        path.symlink_to(path.name)
    elif way == 4:
        path.symlink_to("/nowhere/at/all")
    elif way == 5:
        path.mkdir()
    elif way == 6:
        path.touch()
        os.truncate(path, 2**40)
    else:
        path.symlink_to(random.choice(("/proc/self/mem", "/proc/kmsg", "/proc/self/environ", "/", "/etc/passwd")))


class folder_of:
    """The current folder is that of the path: the name of a socket may have only a hundred letters."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.before = os.getcwd()
        os.chdir(self.path.parent)

    def __exit__(self, *error: object) -> None:
        os.chdir(self.before)
