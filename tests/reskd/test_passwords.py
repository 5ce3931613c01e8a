"""No password of an address is shown, whatever is in it; and what is none stays as it is."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.checkpoint import FolderSink
from reskd.errors import BadInput, DecodeError, reason_of
from reskd.log_records import write_safe_logs
from reskd.passwords import without_passwords
from tests.support.addresses import MARK, passwords, uris


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://me:***@host:5000/x"),
        ("postgresql+psycopg://u:p@ss/w?#d@h/db", "postgresql+psycopg://u:***@h/db"),
        ("https://ghp_token@host/x", "https://***@host/x"),
        ("http://:secret@h", "http://:***@h"),
        ("me:secret@proxy:3128", "me:***@proxy:3128"),
        ("postgresql://h/db?user=me&password=secret&sslmode=require", "postgresql://h/db?user=me&password=***&sslmode=require"),
        ("https://a.blob.core.windows.net/c?sv=1&sig=abc%3D", "https://a.blob.core.windows.net/c?sv=1&sig=***"),
        ("'http://a:b@c' and 'http://d:e@f'", "'http://a:***@c' and 'http://d:***@f'"),
    ],
)  # fmt: skip
def test_a_password_becomes_three_stars(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////a/b.db",
        "http://host:5000/#/experiments/1",
        "s3://bucket/prefix@2x",
        "https://host/path@v1",
        "row lr=.02, seed=1 @ 24 pixels",
        "--set optim.lr=0.02",
        "me@example.org",
        "export RAY_AUTH_MODE=token",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert without_passwords(text) == text


@given(
    uri=uris(), before=st.sampled_from(["", "MLflow at ", "'", "(", "url="]), after=st.sampled_from(["", " ", "'", ")"])
)
def test_no_text_keeps_a_password(uri: str, before: str, after: str) -> None:
    assert MARK not in without_passwords(f"{before}{uri}{after} did not answer")


@given(uri=uris())
def test_errors_reasons_and_pickled_errors_keep_none(uri: str) -> None:
    for error in (BadInput(f"tracking URI {uri}: no"), DecodeError(uri, "no")):
        assert MARK not in f"{error} {error!r} {error.args} {pickle.loads(pickle.dumps(error))}"
    assert MARK not in reason_of(RuntimeError(f"no answer from {uri}"))


@given(password=passwords())
def test_logs_of_any_package_keep_none(password: str) -> None:
    before, out = logging.getLogRecordFactory(), io.StringIO()
    logger, handler = logging.Logger("another package's"), logging.StreamHandler(out)
    logger.addHandler(handler)
    write_safe_logs()
    try:
        logger.warning("retrying %s", f"http://me:{password}@host")
        try:
            raise RuntimeError(f"http://me:{password}@host")
        except RuntimeError:
            logger.exception("failed")
    finally:
        logging.setLogRecordFactory(before)
    assert MARK not in out.getvalue()
    assert "RuntimeError" in out.getvalue()


def test_a_record_of_a_failure_keeps_none(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path)
    sink.fail("one", {"reason": f"no http://me:{MARK}@h", "traceback": f"in x\nE: s3://me:{MARK}@h", "epoch": 3})
    found = sink.failure("one")
    assert found is not None
    assert MARK not in str(found)
    assert found["epoch"] == 3
