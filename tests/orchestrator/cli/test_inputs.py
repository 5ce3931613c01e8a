"""What a command says of the places that the environment names."""

from __future__ import annotations

import pytest

from orchestrator.cli.inputs import say_taken
from reskd.errors import BadInput


def test_places_that_the_environment_names_are_said_without_their_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "http://me:secret@mlflow:5000"
    monkeypatch.setenv("RESKD_STORE", "/shared/reskd")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    say_taken(store=None, tracking_uri=uri, cluster="head:6379")
    expected = "RAY_ADDRESS=head:6379, RESKD_STORE=/shared/reskd, MLFLOW_TRACKING_URI=http://me:***@mlflow:5000"
    assert capsys.readouterr().out == f"from the environment: {expected}\n"


def test_places_that_a_person_names_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESKD_STORE", "/shared/reskd")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    say_taken(store="here", tracking_uri="http://other:5000")
    say_taken(store="here", tracking_uri=None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:./mlruns", "file:///tmp/mlruns", "/tmp/mlruns"])
def test_a_folder_of_files_left_in_the_environment_is_refused_with_the_way_out(uri: str) -> None:
    with pytest.raises(BadInput, match=r"no longer keeps runs in a folder of files; .*unset MLFLOW_TRACKING_URI"):
        say_taken(store=None, tracking_uri=uri)


def test_what_is_no_uri_is_refused_without_its_password() -> None:
    with pytest.raises(BadInput, match=r"^tracking URI http://me:\*\*\*@\[::1:5000: "):
        say_taken(store=None, tracking_uri="http://me:secret@[::1:5000")
