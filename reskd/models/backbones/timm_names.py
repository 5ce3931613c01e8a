"""Names of timm's networks. Only this module imports timm, an optional extra, and only when a name asks for it."""

from __future__ import annotations

import difflib
import importlib.util
from types import ModuleType

from reskd.errors import BadInput

PREFIX = "timm:"


def require(name: str) -> ModuleType:
    """timm, after checking that it is installed and has this network. Raises BadInput with the way out otherwise."""
    if importlib.util.find_spec("timm") is None:
        raise BadInput(
            f"model.name: {name!r} needs timm, which is not installed; run: pip install timm (reskd's extra 'timm')"
        )
    import timm

    network = name.removeprefix(PREFIX)
    if not timm.is_model(network):
        near = difflib.get_close_matches(network.partition(".")[0], timm.list_models(), n=1, cutoff=0.0)[0]
        raise BadInput(
            f"model.name: {name!r} is not a network of timm {timm.__version__}; did you mean {PREFIX + near!r}?"
        )
    return timm
