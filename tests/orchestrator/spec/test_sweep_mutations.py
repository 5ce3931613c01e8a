"""A sweep file with anything wrong in it, anywhere: it loads, or it is one BadInput that names the file."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.spec.sweep import load
from reskd.errors import BadInput

DEMO = yaml.safe_load((Path(__file__).parents[3] / "sweeps" / "demo.yaml").read_text())

Place = tuple[Any, ...]


def places(tree: Any, place: Place = ()) -> list[Place]:
    """Keys and indices that lead to every value, at every depth."""
    if isinstance(tree, dict):
        inner = list(tree.items())
    elif isinstance(tree, list):
        inner = list(enumerate(tree))
    else:
        return [place]
    return [place, *(deeper for key, value in inner for deeper in places(value, (*place, key)))]


PLACES = places(DEMO)
WORDS = [*sorted({str(key) for place in PLACES for key in place}), "kd.level", "teacher.model.resolution", "a.b.c", "."]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 300),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(WORDS),
)
KEYS = st.one_of(st.text(max_size=12), st.sampled_from(WORDS))
VALUES = st.one_of(
    SCALARS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=6,
    ),
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The demo's sweep after one to three changes: a value replaced, a key renamed, taken away, added or moved."""
    tree = copy.deepcopy(DEMO)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(tree)))
        if not place:
            if draw(st.integers(0, 9)) == 0:
                tree = draw(VALUES)
            continue
        *parents, last = place
        node = tree
        for key in parents:
            node = node[key]
        kind = draw(st.sampled_from(["replace", "rename", "delete", "add", "swap"]))
        if kind == "delete":
            del node[last]
        elif kind == "rename" and isinstance(node, dict):
            node[draw(KEYS)] = node.pop(last)
        elif kind == "add" and isinstance(node, dict):
            node[draw(KEYS)] = draw(VALUES)
        elif kind == "add":
            node.append(draw(st.one_of(VALUES, st.just(copy.deepcopy(node[last])))))
        elif kind == "swap":
            from_place = draw(st.sampled_from(PLACES))
            value: Any = DEMO
            for key in from_place:
                value = value[key]
            node[last] = copy.deepcopy(value)
        else:
            node[last] = draw(VALUES)
    return tree


@settings(
    max_examples=5 * settings().max_examples // 2,  # of the profile: there is more to get wrong here than elsewhere
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=mutated())
def test_a_mutated_sweep_loads_or_is_a_bad_input_that_names_the_file(tree: Any, tmp_path: Path) -> None:
    path = tmp_path / "mutated.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    said = f"{path}: "
    try:
        assert load(path).cells
    except BadInput as error:
        said = str(error)
    assert said.startswith(f"{path}: ")
    assert len(said.splitlines()) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]:-,&*!|>%@`'\"#? \n\tab1.", max_size=60)))
def test_a_file_that_is_no_sweep_at_all_is_a_bad_input_that_names_it(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "junk.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_over_one_megabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"")
    os.truncate(path, 2**40)  # a terabyte of nothing: reading them would not end
    with pytest.raises(BadInput, match=r"large\.yaml: too long for a sweep file"):
        load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero")
def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(BadInput, match="a pipe or a device, not a file"):
        load(Path("/dev/zero"))
