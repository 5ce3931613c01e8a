"""Tells torch's words about a loader process that has died from other errors. Needs nothing but Python."""

from __future__ import annotations

from reskd.errors import LoaderLost

TORCHS_WORDS = ("DataLoader timed out", "DataLoader worker", "Pin memory thread")
"""How torch's own errors begin. An error of a process's own begins otherwise ("Caught ...")."""


def refuse_loss(error: Exception) -> None:
    """Raise LoaderLost if an error says that a loader process has died.

    In the main thread, torch raises it wherever the program is at that moment, for example in a network's forward.
    """
    if isinstance(error, RuntimeError) and str(error).startswith(TORCHS_WORDS):
        raise LoaderLost(
            f"a loader process died ({error}); if this comes again, lower resources.loader_workers"
        ) from error
