"""How a training is computed. These settings change results by rounding only, so they are not part of a step's id."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from reskd.files import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Settings that a step keeps from start to end, also after a resume: other settings would round differently."""

    groups_per_pass: int = 1
    """Number of a worker's groups that go through a network in one forward pass."""
    compile: bool = False
    """Whether to use torch.compile where it works."""
    deterministic: bool = True
    """Whether a GPU gives equal bits in every run, alone or in a cohort. It then cannot use its fastest kernels."""

    def to_record(self) -> Json:
        """Plain values for the record of a step's start."""
        return asdict(self)

    @staticmethod
    def of_record(record: Json) -> Execution:
        """Read the settings from a start record. Settings that an old record lacks get their defaults."""
        known = {field.name: record[field.name] for field in fields(Execution) if field.name in record}
        return Execution(**known)
