"""What a command takes from its environment: it is used and said, or refused in one line."""

from __future__ import annotations

import getpass
import http.server
import io
import locale
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from orchestrator.cli import environment
from orchestrator.cli.environment import MAX_TEMPORARY, settle
from orchestrator.store.open import make_cache, store_of
from orchestrator.tracking.ui import answers
from reskd.errors import BadInput
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
SWEEP = """
question: q
base: {{data: {{name: demo, root: {}}}, model: {{name: tsn_mini10, resolution: 24}}}}
rows: {{chain: [{{row: a, kd.level: none}}]}}
seeds: [0]
"""
SOCKET_BYTES = 107
"""What Linux allows for a socket's path, see unix(7): 108 with the byte that ends it."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("TMPDIR", "RAY_TMPDIR", "no_proxy", "NO_PROXY"):
        os.environ.pop(name, None)
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture
def server() -> Iterator[str]:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch, server: str, name: str) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert answers(server)  # reskd ui asks its own server without regard to any variable
    with pytest.raises(requests.ConnectionError):
        requests.get(server, timeout=5)
    settle()
    assert requests.get(server, timeout=5).text == "OK"
    assert requests.get(server.replace("127.0.0.1", "localhost"), timeout=5).text == "OK"


def test_what_a_person_excepts_from_proxies_stays_excepted() -> None:
    os.environ["NO_PROXY"] = "mlflow.lab, 10.0.0.0/8"
    os.environ["no_proxy"] = "other.lab"
    settle()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    assert os.environ["no_proxy"].split(",")[:3] == ["other.lab", "mlflow.lab", "10.0.0.0/8"]


def test_no_proxy_for_anybody_stays_so() -> None:
    """The star is understood where it stands alone, and loopback is among everybody."""
    os.environ["no_proxy"] = "*"
    os.environ["http_proxy"] = "http://proxy.lab:3128"
    settle()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "*"
    assert requests.utils.should_bypass_proxies("http://mlflow.lab:5000", no_proxy=None)


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_too_long_for_sockets_is_reached_by_a_short_name(tmp_path: Path, name: str) -> None:
    long = tmp_path / "slurm_jobdir/1355700/user_poebhkiwa/tmp.t0016/scratch/machine"
    long.mkdir(parents=True)
    os.environ[name] = str(long)
    said = settle()
    short = os.environ[name]
    assert said == [f"{name}={long} is too long for the paths of sockets; it is reached as {short}"]
    assert len(short) <= MAX_TEMPORARY
    (Path(short) / "here").touch()
    assert (long / "here").exists()
    # The longest path that Ray gives to a socket, and that of multiprocessing in the folder that Python then uses.
    for path in (f"{short}/ray/session_2026-11-30_20-13-44_123456_4194304/sockets/plasma_store.1", tempfile.mktemp()):
        assert len(path) <= SOCKET_BYTES
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)


def test_a_temporary_folder_that_fits_is_left_as_it_is_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.environ["TMPDIR"] = folder
        assert settle() == []
        assert os.environ["TMPDIR"] == folder == tempfile.gettempdir()


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_that_cannot_be_written_is_said(name: str) -> None:
    os.environ[name] = "/proc/no-such-folder"
    assert settle() == [f"{name}=/proc/no-such-folder cannot be written; {tempfile.gettempdir()} is used"]
    assert os.environ.get(name) in (None, tempfile.gettempdir())


def test_without_any_place_for_a_short_name_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SHORT_PLACES", ("/proc",))
    long = tmp_path / ("long" * 20)
    long.mkdir()
    os.environ["TMPDIR"] = str(long)
    with pytest.raises(BadInput, match=rf"TMPDIR={long} is longer than {MAX_TEMPORARY} bytes"):
        settle()


def test_a_user_without_a_home_or_a_name_gets_what_packages_ask_for_while_they_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "MPLCONFIGDIR"):
        os.environ.pop(name, None)

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)  # as of a number that a container was given
    with pytest.raises(RuntimeError):
        Path.home()
    settle()
    assert Path("~/ray_results").expanduser() == Path("/nonexistent/ray_results")
    assert getpass.getuser() == str(os.geteuid())
    assert Path(os.environ["MPLCONFIGDIR"]).is_dir()


def test_a_home_that_cannot_be_written_stays_the_home_and_figures_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    assert settle() == []
    assert os.environ["HOME"] == "/proc/nowhere"
    assert os.access(os.environ["MPLCONFIGDIR"], os.W_OK)


def test_a_store_in_a_bucket_needs_a_folder_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESKD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    store = store_of("s3://bucket/store")
    assert store.home.is_relative_to("/proc/nowhere/.cache/reskd")
    with pytest.raises(BadInput, match=r"^/proc/nowhere/.cache/reskd/\w+: cannot be written .*; set RESKD_CACHE$"):
        make_cache(store)


def test_a_umask_that_takes_a_persons_own_rights_is_refused() -> None:
    before = os.umask(0o277)
    try:
        with pytest.raises(BadInput, match="umask 0277"):
            settle()
        os.umask(0o077)
        settle()
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_files_and_pipes_get_utf8_whatever_the_locale_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        settle()
        print("naïve 打 \udcff")
    assert (tmp_path / "out").read_bytes() == "naïve 打 ?\n".encode()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ISO-8859-1", b"na\xefve ?"), ("UTF-8", "naïve 打".encode()), ("ANSI_X3.4-1968", "naïve 打".encode())],
)
def test_a_terminal_gets_its_own_encoding_and_a_sign_for_what_it_cannot_show(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: bytes
) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setattr(locale, "getencoding", lambda: encoding)
    with os.fdopen(theirs, "w", encoding="ascii") as stream:
        assert isinstance(stream, io.TextIOWrapper)
        monkeypatch.setattr(sys, "stdout", stream)
        settle()
        print("naïve 打", end="", flush=True)
        assert os.read(ours, 100) == shown
    os.close(ours)


def test_names_of_files_are_utf8_where_the_locale_has_another_encoding(tmp_path: Path) -> None:
    """The sweep's name reaches Python as bytes, the folder's name comes from the file."""
    sweep, videos = tmp_path / "naïve.yaml", tmp_path / "vidéos"
    videos.mkdir()
    (videos / "train.csv").write_text("neither,of,ours\n", encoding="utf-8")
    sweep.write_text(SWEEP.format(videos), encoding="utf-8")
    locale_c = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    variables = {**locale_c, "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    code = "import sys; print(sys.getfilesystemencoding(), end='')"
    assert subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True).stdout == b"ascii"
    command = [sys.executable, "-m", "orchestrator", "plan", str(sweep), "--store", str(tmp_path / "store")]
    done = subprocess.run(command, env=variables, capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    said = done.stderr.decode("utf-8")
    assert said.startswith(f"reskd: {videos}/train.csv:")
    assert "no such file" not in said  # it was read
