"""Notifications, at a server that the test starts; the address holds a password that nobody may see."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue

import pytest

from orchestrator.cli.show_outcome import outcome_text
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.run.controller import Outcome
from orchestrator.run.notify import VARIABLE, Notifier, addresses, without_secrets
from orchestrator.store.step_record import records_from_store
from orchestrator.tables.build import build_table
from orchestrator.tables.published import load_published
from reskd.errors import BadInput
from tests.support.ports import free_port
from tests.support.stored_sweep import StoredSweep
from tests.support.watched_runs import ended, job

PASSWORD = "hunter2"


class Mailbox:
    """A web server that keeps what is posted, and answers with ``status``."""

    def __init__(self) -> None:
        self.posts: SimpleQueue[dict[str, str]] = SimpleQueue()
        self.status = 200
        mailbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                mailbox.posts.put(json.loads(content))
                self.send_response(mailbox.status)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"json://me:{PASSWORD}@127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    found = Mailbox()
    yield found
    found.close()


def test_a_text_is_sent_to_every_address_of_options_and_variable(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{mailbox.address}/b {mailbox.address}/c")
    found = addresses([f"{mailbox.address}/a"])
    assert len(found) == 3
    assert addresses([]) == [], "workers would inherit it"
    Notifier(found).send("reskd: demo is done", "8 of 8 steps done", is_failure=False)
    posts = [mailbox.posts.get(timeout=5) for _ in found]
    assert [(post["title"], post["message"], post["type"]) for post in posts] == [
        ("reskd: demo is done", "8 of 8 steps done", "success")
    ] * 3


def test_the_first_job_that_fails_is_told_with_its_reason_and_further_ones_are_not(mailbox: Mailbox) -> None:
    notifier = Notifier([mailbox.address])
    for name in ("a", "b"):
        notifier.job_failed("demo", ended(job(name), "failed", reason="no memory"))
    post = mailbox.posts.get(timeout=5)
    assert (post["message"], post["type"]) == ("job a: no memory", "failure")
    notifier.send("end", "8 of 8", is_failure=True)
    assert mailbox.posts.get(timeout=5)["title"] == "end"


@pytest.mark.parametrize("why", ["refused", "nobody"])
def test_a_text_that_is_not_taken_is_warned_of_without_the_address(
    why: str, mailbox: Mailbox, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    mailbox.status = 500
    nobody = f"json://me:{PASSWORD}@127.0.0.1:{free_port()}/hook"
    with caplog.at_level(logging.INFO):
        Notifier([mailbox.address if why == "refused" else nobody]).send("end", "8 of 8", is_failure=False)
    assert any(record.levelname == "WARNING" for record in caplog.records)
    assert PASSWORD not in caplog.text + "".join(capfd.readouterr())


def test_an_address_that_is_none_is_refused_before_anything_starts_and_not_shown() -> None:
    with pytest.raises(BadInput, match="number 2 of the 2") as refused:
        Notifier(["json://127.0.0.1:1", f"carrier-pigeon://{PASSWORD}"])
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--notify", f"json://{PASSWORD}", "a.yaml"],
        ["run", f"--notify=json://{PASSWORD}", "a.yaml"],
        ["run", "a.yaml", "--notify", f"json://{PASSWORD}", "--notify", "--notify"],
        ["run", "a.yaml", "--notify"],
    ],
)
def test_a_command_is_shown_without_secrets(words: list[str]) -> None:
    assert without_secrets(words) == ["run", "a.yaml"]


def test_the_text_says_how_the_run_ended_and_the_first_column_of_the_first_table(tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path, seeds=(0,))
    for step_id in stored.steps:
        stored.finish(step_id, 0.875)
    (spec,) = stored.sweep.tables.values()
    table = build_table(
        "table5",
        spec,
        sweep=stored.sweep,
        steps=stored.steps,
        records=records_from_store(stored.store, stored.steps),
        published=load_published(),
    )
    outcome = Outcome(
        num_done=4, failed=(), unfinished=(), held={}, given_up={}, interrupted=False, log=None, wall_s=3723.0
    )
    title, body = outcome_text(Prepared(stored.sweep, stored.store, stored.steps, {}), outcome, [table])
    assert title == "reskd: levels is done"
    assert "4 of 4 steps done, 1:02:03 spent" in body
    assert "baseline 87.5, clip-level KL 87.5, pixel-level MSE 87.5" in body
