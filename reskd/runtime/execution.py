"""How a training is computed: choices that change its numbers by rounding alone, so none of them is identity."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from reskd.files import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Kept from a step's start to its end, as another choice rounds otherwise: bits are equal only among equals."""

    groups_per_pass: int = 1
    """Of each worker's groups, how many go through a network together."""
    compile: bool = False
    """Whether torch.compile makes the networks' kernels, where it can."""
    deterministic: bool = True
    """Whether a GPU gives the same bits alone, in a cohort and again, at the price of its fastest kernels."""

    def to_record(self) -> Json:
        """For a step's record of its start."""
        return asdict(self)

    @staticmethod
    def of_record(record: Json) -> Execution:
        """Of a start's record, also of one from before there was a choice."""
        known = {field.name: record[field.name] for field in fields(Execution) if field.name in record}
        return Execution(**known)
