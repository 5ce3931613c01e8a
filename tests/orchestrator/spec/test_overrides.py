"""`--set key=value`: where in a sweep file each change goes."""

from __future__ import annotations

import pytest

from orchestrator.spec.overrides import apply_changes, split_changes
from reskd.errors import BadInput


def test_texts_are_split_at_their_first_equals_sign() -> None:
    assert split_changes(["optim.lr=0.02", " data.root = a=b "]) == {"optim.lr": "0.02", "data.root": "a=b"}


def test_a_key_of_the_base_is_the_same_with_base_before_it() -> None:
    assert split_changes(["base.optim.lr=0.02", "base.teacher.seed=1"]) == {"optim.lr": "0.02", "teacher.seed": "1"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["lr"], "'lr': write it as key=value"),
        (["=1"], "write it as key=value"),
        (["a=1", "a=2"], "a is given twice"),
        (["base.a=1", "a=2"], "a is given twice"),
    ],
)
def test_what_is_no_change_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        split_changes(texts)


def test_a_change_goes_to_its_section_and_all_others_to_the_base() -> None:
    tree = {"base": {"optim": {"lr": 0.1, "epochs": 2}}, "resources": {"workers": 2}, "seeds": [0]}
    changed = apply_changes({"optim.lr": "0.02", "resources.max_cpus": "4", "seeds": "[1, 2]"}, tree)
    assert changed["seeds"] == [1, 2]
    assert changed["resources"] == {"workers": 2, "max_cpus": 4}
    optim = {key.removeprefix("optim."): value for key, value in changed["base"].items() if key.startswith("optim.")}
    assert {**changed["base"].get("optim", {}), **optim} == {"lr": 0.02, "epochs": 2}
    assert tree["base"] == {"optim": {"lr": 0.1, "epochs": 2}}
