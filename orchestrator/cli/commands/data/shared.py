"""The data set that a sweep file or a folder names."""

from __future__ import annotations

from pathlib import Path

from reskd.errors import BadInput
from reskd.recipe import DataSpec


def data_specs(source: Path, *, data: str | None) -> list[DataSpec]:
    """All data specs in the sweep, or in the folder, that belong to one data set."""
    if source.is_dir():
        classes = "classes.txt" if (source / "classes.txt").is_file() else None
        return [DataSpec(name=source.resolve().name, root=str(source), classes=classes)]
    from orchestrator.spec.sweep import load

    specs = list(dict.fromkeys(cell.recipe.data for cell in load(source).cells))
    names = list(dict.fromkeys(spec.name for spec in specs))
    if data is not None and data not in names:
        raise BadInput(f"--data {data!r}: {source} has {', '.join(names)}")
    if data is None and len(names) > 1:
        raise BadInput(f"{source} has {len(names)} data sets: {', '.join(names)}; name one with --data")
    mine = [spec for spec in specs if data in (None, spec.name)]
    places = {(spec.root, spec.annotations, spec.train, spec.val, spec.classes) for spec in mine}
    if len(places) > 1:
        raise BadInput(
            f"{source}: rows have different files or folders under data.name {mine[0].name!r}; give each its own name"
        )
    return mine
