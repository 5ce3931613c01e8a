"""Imported measurements of `python -m reskd.throughput`: how they are checked, stored, and found for a table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.spec.identity import canonical_json
from orchestrator.spec.strict import check, naming
from orchestrator.store.store import Store
from reskd.errors import BadInput, reason_of
from reskd.files import files_ending, json_value, read_file, write_json
from reskd.recipe import Recipe
from reskd.throughput.record import FORMAT, Measurement

BENCH = "bench/clips/s"
"""The table column for imported measurements."""
MAX_BYTES = 10_000_000
AGAIN = "measure again with `python -m reskd.throughput --json FILE`"


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchFile:
    """The content of a measurement file, with the fields that reskd.throughput.sheet writes."""

    format: str
    created: str
    model: str
    num_classes: int
    num_frames: int
    device: str
    device_type: str
    num_threads: int
    compile_mode: str
    roofline: dict[str, Any] | None
    versions: dict[str, str | None]
    results: tuple[Measurement, ...]
    skipped: tuple[dict[str, Any], ...]

    def __post_init__(self) -> None:
        if not self.results:
            raise BadInput(f"'results' is empty, so nothing was measured; {AGAIN}")
        for index, one in enumerate(self.results):
            if one.clips_per_s <= 0 or min(one.batch_size, one.resolution) < 1:
                raise BadInput(
                    f"'results[{index}]' says {one.clips_per_s} clips/s of batch {one.batch_size} at "
                    f"{one.resolution} px; all three must be positive; {AGAIN}"
                )


class BenchFigure(NamedTuple):
    """One measurement and the file that it comes from."""

    file: BenchFile
    measured: Measurement


def read_bench_file(path: Path) -> tuple[BenchFile, dict[str, Any]]:
    """The measurements of a file and its JSON text. Raises BadInput with the file, the field and the way out."""
    try:
        content = json_value(read_file(path, max_bytes=MAX_BYTES), where=str(path), way_out=AGAIN)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason_of(error)}); name one of reskd.throughput") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise BadInput(f"{path}: 'format' is {found!r}, but this program reads {FORMAT!r}; {AGAIN}")
    with naming(str(path)):
        return check(BenchFile, content), content


def bench_hash(content: Mapping[str, Any]) -> str:
    """A name made from the file's content. So the same file imported twice is one record."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def keep_bench(store: Store, content: Mapping[str, Any]) -> Path:
    """Write the record into the store, and return its path."""
    path = bench_folder(store) / f"{bench_hash(content)}.json"
    if not path.exists():
        write_json(path, content)
    return path


def bench_folder(store: Store) -> Path:
    """The folder of imported measurements, on this machine."""
    return store.home / "bench"


def read_bench(store: Store) -> tuple[BenchFile, ...]:
    """Every imported file, newest measurement first."""
    found = [read_bench_file(path)[0] for path in files_ending(bench_folder(store), ".json")]
    return tuple(sorted(found, key=lambda file: file.created, reverse=True))


def find_figure(files: Sequence[BenchFile], recipe: Recipe) -> BenchFigure | None:
    """The fastest path in the newest file that measured this network with this number of frames and this resolution."""
    if recipe.model.stride is not None:
        return None  # the measured network has its own
    for file in files:
        if (file.model, file.num_frames) != (recipe.model.name, recipe.data.num_frames):
            continue
        fitting = [one for one in file.results if one.resolution == recipe.model.input_size]
        if fitting:
            return BenchFigure(file, max(fitting, key=lambda one: one.clips_per_s))
    return None


def bench_sentences(
    files: Sequence[BenchFile], recipes: Mapping[str, Recipe], *, columns: Sequence[str]
) -> tuple[str, ...]:
    """Sentences that say on which hardware the column's numbers were measured, by row if it differs."""
    if BENCH not in columns:
        return ()
    rows: dict[str, list[str]] = {}
    for row, recipe in recipes.items():
        figure = find_figure(files, recipe)
        if figure is not None:
            one = figure.measured
            how = (
                f"{figure.file.device}, torch {figure.file.versions.get('torch')}, {figure.file.num_frames} frames, "
                f"path {one.path} ({one.dtype}, {one.engine}), batch {one.batch_size}"
            )
            rows.setdefault(how, []).append(row)
    if not rows:
        return ("clips/s, measured alone: nothing imported fits; `python -m reskd.throughput`, `reskd bench import`.",)
    said = "; ".join(f"{how} (rows {', '.join(names)})" for how, names in rows.items())
    return (f"clips/s, measured alone: the network without decoding, the median of the fastest path on {said}.",)
