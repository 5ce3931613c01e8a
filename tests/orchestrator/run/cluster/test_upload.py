"""What leaves the machine with `reskd submit`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from orchestrator.run.cluster.upload import copy_package, left_out_line

ROOT = Path(__file__).parents[4]
OURS = ("__init__.py", "models/net.py", "recipes/a.yaml", "page.html.j2", "page.css", "lists/classes.txt", "split.csv")
OTHERS = (
    ".env",
    ".secret/token.txt",
    "id_rsa",
    "keys/server.key",
    "keys/server.pem",
    "keys/service_account.json",
    "video.mp4",
    "weights.pt",
    "notes~",
    "old.py.bak",
)


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_of_a_folder_full_of_other_things_only_code_and_lists_are_uploaded_and_the_rest_is_named(
    tmp_path: Path,
) -> None:
    package, target = tmp_path / "project" / "package", tmp_path / "target"
    for name in (*OURS, *OTHERS, "__pycache__/net.cpython-311.pyc"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    (tmp_path / "outside.py").write_text("of another project")
    (package / "linked.py").symlink_to(tmp_path / "outside.py")
    (package / "folder").symlink_to(tmp_path)
    (package / "gone.py").symlink_to(tmp_path / "nothing")
    left_out = copy_package(package, target)
    assert written(target) == {f"package/{name}" for name in OURS}
    assert all((target / "package" / name).read_text() == name for name in OURS)
    assert set(left_out) == {f"package/{name}" for name in (*OTHERS, "linked.py", "folder", "gone.py")}
    line = left_out_line(left_out)
    assert f"{len(left_out)} files" in line
    assert "package/.env" in line
    assert "\n" not in left_out_line(["package/two\nlines"])


def test_every_file_of_our_packages_that_a_run_needs_is_uploaded(tmp_path: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "reskd", "orchestrator"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for package in ("reskd", "orchestrator"):
        copy_package(ROOT / package, tmp_path)
    assert {name for name in names if (ROOT / name).exists()} - written(tmp_path) == {"reskd/ruff.toml"}
