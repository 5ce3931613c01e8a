"""`reskd ls`: lists the steps of a store."""

from __future__ import annotations

import json

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import AsJson, StoreFolder


def ls(store: StoreFolder = None, as_json: AsJson = False) -> None:
    """List every step of the store: data, network, teacher, seed, state, epochs, accuracy."""
    from orchestrator.cli.show_contents import show_contents
    from orchestrator.store.contents import contents

    where = open_store(store)
    rows = contents(where)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        show_contents(rows, where, console)
