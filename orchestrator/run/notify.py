"""Tells addresses of the library apprise (mail, chats, telephones, any web server) what becomes of a run.

An address may hold a password. So no message, log or record shows one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from orchestrator.store.run_records import JobRecord
from reskd.errors import BadInput
from reskd.passwords import without_passwords

logger = logging.getLogger(__name__)

OPTION = "--notify"
VARIABLE = "RESKD_NOTIFY"


def addresses(given: Sequence[str]) -> list[str]:
    """The addresses of the options and of the variable, which is removed, so that no other process inherits it."""
    return [*given, *os.environ.pop(VARIABLE, "").split()]


def without_secrets(words: Sequence[str]) -> list[str]:
    """A command line that may be shown: without the addresses of --notify and without passwords."""
    shown, is_address = [], False
    for word in words:
        if not is_address and word != OPTION and not word.startswith(f"{OPTION}="):
            shown.append(without_passwords(word))
        is_address = not is_address and word == OPTION
    return shown


class Notifier:
    """Sends short texts. A text that nobody takes is only warned of."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._targets: Any = None
        self._has_told_of_failure = False
        if not addresses:
            return
        import apprise  # what few runs need

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its messages show addresses
        self._targets = apprise.Apprise()
        for number, address in enumerate(addresses, start=1):
            if not self._targets.add(address):
                raise BadInput(
                    f"{OPTION}: number {number} of the {len(addresses)} addresses (with those in {VARIABLE}) is none "
                    "that apprise knows; write it as mailto://..., slack://..., json://host:port/path and the like"
                )

    def send(self, title: str, body: str, *, is_failure: bool) -> None:
        """Send a text to every address, and wait until they have taken it or the connection has timed out."""
        if self._targets is None:
            return
        try:
            is_taken = self._targets.notify(title=title, body=body, notify_type="failure" if is_failure else "success")
        except Exception:  # of any service's library; its text may show the address
            is_taken = False
        if not is_taken:
            logger.warning("a notification was not taken; is the address of %s or %s right?", OPTION, VARIABLE)

    def job_failed(self, sweep: str, job: JobRecord) -> None:
        """Tell of the first job of a run that fails, without waiting."""
        if self._targets is None or self._has_told_of_failure:
            return
        self._has_told_of_failure = True
        title, body = f"reskd: a job of {sweep} failed", f"{job.label}: {job.reason or 'no reason recorded'}"
        tell = partial(self.send, title, body, is_failure=True)
        threading.Thread(target=tell, name="notify", daemon=True).start()
