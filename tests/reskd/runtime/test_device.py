"""A device by its name on the command line."""

from __future__ import annotations

import pytest
import torch

from reskd.errors import BadInput
from reskd.runtime.device import chosen_device, device_name


def test_auto_is_a_gpu_where_torch_sees_one() -> None:
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert chosen_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpu", "'gpu' is no device of torch's"),
        ("meta", "computes on cpu and cuda"),
        ("cuda:99", "sees no cuda:99 here"),
    ],
)
def test_what_is_no_device_here_is_refused_with_the_names_that_are(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        chosen_device(name)


def test_a_cpu_has_a_name_of_one_line() -> None:
    assert len(device_name(torch.device("cpu")).splitlines()) == 1
