"""The servers that a team has beside its cluster, as processes that can be attacked: a bucket's and MLflow's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

START_S = 120
BUCKET = "soak"
S3_SETTINGS = {
    "AWS_ACCESS_KEY_ID": "soak",
    "AWS_SECRET_ACCESS_KEY": "soak",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Server:
    """A server on a port of loopback that keeps its port when it is started again."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{type(self).__name__} did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urlopen(self.url, timeout=5):
                return True
        except HTTPError:
            return True
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its processes."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


class MlflowServer(Server):
    """`mlflow server` with a database and artifacts of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "log.txt")
        self._folder = folder

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"),
            *("--artifacts-destination", str(self._folder / "artifacts")),
        ]


class BucketServer(Server):
    """moto's S3, which keeps its objects in memory: it can be stopped for a while, not killed."""

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.soak.servers", str(self.port)]

    def settings(self) -> dict[str, str]:
        """The environment variables that lead to it."""
        return {**S3_SETTINGS, "AWS_ENDPOINT_URL": self.url}

    def empty_bucket(self, prefix: str) -> str:
        """The address of a store in the bucket; the bucket is made if it is missing."""
        import boto3  # type: ignore[import-untyped]

        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=S3_SETTINGS["AWS_REGION"],
            aws_access_key_id="soak",
            aws_secret_access_key="soak",
        )
        client.create_bucket(Bucket=BUCKET)
        return f"s3://{BUCKET}/{prefix}"


def serve_bucket(port: int) -> None:
    """Serve until a signal ends it."""
    import threading

    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    lock, put_object = threading.Lock(), S3Response.put_object

    def one_at_a_time(request: S3Response) -> Any:
        with lock:  # in S3 a conditional write is one act; moto looks and then writes
            return put_object(request)

    S3Response.put_object = one_at_a_time  # type: ignore[method-assign, assignment]
    ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False).start()
    signal.pause()


if __name__ == "__main__":
    serve_bucket(int(sys.argv[1]))
