"""An imported model beside a member that trains: both end as they do alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reskd.checkpoint import FolderSink, load_weights
from reskd.data.manifest import Manifest
from reskd.errors import BadInput
from reskd.files import Json, read_json
from reskd.recipe import DataSpec, ModelSpec, Recipe
from reskd.training.fit import MemberSpec, fit_cohort
from tests.support.foreign_files import save_mini
from tests.support.training import teacher_recipe

TRAINED, IMPORTED = "5eed", "f11e"


def fitted(
    recipes: dict[str, Recipe], folder: Path, manifest: Manifest, data: DataSpec, sha256: str | None = None
) -> dict[str, Json]:
    """Step id -> DONE record."""
    fit_cohort(
        [MemberSpec(step_id, recipe, {}, sha256) for step_id, recipe in recipes.items()],
        manifest=manifest,
        root=Path(str(data.root)),
        sink=FolderSink(folder),
    )
    return {step_id: read_json(folder / step_id / "DONE.json") or {} for step_id in recipes}


def test_a_file_is_tested_beside_a_training_and_neither_changes_the_other(
    demo_data: DataSpec, short_manifest: Manifest, tmp_path: Path
) -> None:
    path = save_mini(tmp_path / "a.pth", num_classes=len(short_manifest.classes))
    trained = replace(teacher_recipe(demo_data), model=ModelSpec(name="tsn_mini10", resolution=24))
    imported = replace(trained, model=ModelSpec(name="tsn_mini10", resolution=32), checkpoint=str(path))
    both = fitted({TRAINED: trained, IMPORTED: imported}, tmp_path / "both", short_manifest, demo_data)
    for step_id, recipe in ((TRAINED, trained), (IMPORTED, imported)):
        alone = fitted({step_id: recipe}, tmp_path / step_id, short_manifest, demo_data)[step_id]
        assert both[step_id]["state_hash"] == alone["state_hash"]
        assert both[step_id]["metrics"] == alone["metrics"]
    assert (both[TRAINED]["epochs"], both[IMPORTED]["epochs"]) == (1, 0)
    theirs = torch.load(path)["state_dict"]
    ours = load_weights(tmp_path / "both" / IMPORTED / "weights.pt")["model"]
    assert torch.equal(ours["backbone.layer4.0.conv2.weight"], theirs["backbone.layer4.0.conv2.conv.weight"])
    assert torch.equal(ours["classifier.weight"], theirs["cls_head.fc_cls.weight"])


def test_a_file_of_another_content_than_planned_is_not_imported(
    demo_data: DataSpec, short_manifest: Manifest, tmp_path: Path
) -> None:
    path = save_mini(tmp_path / "a.pth", num_classes=len(short_manifest.classes))
    model = ModelSpec(name="tsn_mini10", resolution=32)
    recipe = replace(teacher_recipe(demo_data), model=model, checkpoint=str(path))
    with pytest.raises(BadInput, match="its content has changed since the step was planned"):
        fitted({IMPORTED: recipe}, tmp_path / "runs", short_manifest, demo_data, sha256="0" * 64)
