"""The description of one member of a cohort. Needs no torch, so that a job can carry it."""

from __future__ import annotations

from dataclasses import dataclass, field

from reskd.files import Json
from reskd.recipe import Recipe


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One step to train or import: its id, its recipe, and facts for its DONE record (commit, identity, ...)."""

    step_id: str
    recipe: Recipe
    provenance: Json = field(default_factory=dict)
    checkpoint_sha256: str | None = None
    """Hash of the content that an imported model's file must have; None: any content."""
