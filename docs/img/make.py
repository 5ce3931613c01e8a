"""Makes this folder's pictures from the store of a finished demo: `python docs/img/make.py STORE`. Needs chromium."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PORT = 5077
BY_ROW = f"http://127.0.0.1:{PORT}/#/experiments/1/runs?viewStateShareKey=by-row&workflowType=machine_learning"
NUM_COLOURS = 64
LOAD_MS = 30_000
"""Time that a page gets to load. MLflow's pages ask their server several times."""


def shoot(address: str, *, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """The part ``box`` (left, top, right, bottom) of a page in a window of this size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.png")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--window-size={size[0]},{size[1]}", f"--virtual-time-budget={LOAD_MS}", f"--screenshot={path}"]
        subprocess.run(["chromium", *options, address], check=True, capture_output=True)
        return Image.open(io.BytesIO(path.read_bytes())).convert("RGB").crop(box)


@contextmanager
def mlflow_pages(store: Path) -> Iterator[None]:
    """MLflow's pages of the store, as `reskd ui` serves them."""
    command = [sys.executable, "-m", "orchestrator", "ui", "--store", str(store), "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        server.terminate()
        server.wait()


def save(picture: Image.Image, name: str) -> None:
    """Few colours, so that the files are small."""
    picture.quantize(NUM_COLOURS).save(HERE / name, optimize=True)
    print(f"{HERE / name}: {(HERE / name).stat().st_size // 1000} kB")


def main(store: Path) -> None:
    page = (store / "tables" / "demo" / "report.html").resolve().as_uri()
    save(shoot(page, size=(1180, 1500), box=(40, 0, 1140, 1180)), "report.png")
    save(shoot(page, size=(1180, 4200), box=(40, 1865, 1140, 3000)), "charts.png")
    with mlflow_pages(store):
        save(shoot(BY_ROW, size=(2000, 860), box=(195, 0, 1455, 860)), "mlflow.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
