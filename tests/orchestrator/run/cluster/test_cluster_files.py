"""The cluster files, held to Ray's own schema and validators, and to what the documentation promises of them."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[4]


def read(name: str) -> dict[str, Any]:
    tree = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(tree, dict)
    return tree


def schema_errors(tree: dict[str, Any]) -> list[str]:
    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(tree)]


def test_rays_schema_and_validators_accept_ray_cluster_yaml() -> None:
    tree = read("ray_cluster.yaml")
    assert schema_errors(tree) == []
    validate_config(prepare_config(tree))


@pytest.mark.parametrize("typo", ["max_wrokers", "setup_comands"])
def test_the_schema_would_find_a_typo(typo: str) -> None:
    assert schema_errors({**read("ray_cluster.yaml"), typo: 1})


def test_the_head_has_no_gpu_and_both_gpu_types_start_at_zero() -> None:
    tree = read("ray_cluster.yaml")
    types = tree["available_node_types"]
    assert "GPU" not in types[tree["head_node_type"]]["resources"]
    workers = [kind for name, kind in types.items() if name != tree["head_node_type"]]
    assert [(kind["min_workers"], kind["resources"]["GPU"]) for kind in workers] == [(0, 1), (0, 1)]
    spot = [kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot" for kind in workers]
    assert sorted(spot) == [False, True]


def test_every_machine_has_the_token_the_packages_and_the_shared_folder() -> None:
    tree = read("ray_cluster.yaml")
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in tree[part][-1]
    assert any(target.endswith(".ray/auth_token") for target in tree["file_mounts"])
    setup = " ".join(tree["setup_commands"])
    assert "/shared" in setup
    assert "--constraint" in setup
    declared = (ROOT / "pyproject.toml").read_text().split("[project.optional")[0]
    for line in re.findall(r'^    "([A-Za-z0-9_-]+)', declared, re.M):
        assert re.search(rf"\b{line}\b", setup), f"{line} is not installed by ray_cluster.yaml"


def test_the_rayjob_has_what_kuberay_requires_of_one() -> None:
    spec = read("deploy/kuberay-rayjob.yaml")["spec"]
    cluster = spec["rayClusterSpec"]
    assert "ray==" not in cluster["rayVersion"]
    assert f"ray=={cluster['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    for group in cluster["workerGroupSpecs"]:
        assert {"groupName", "minReplicas", "maxReplicas", "template"} <= set(group)
    assert cluster["authOptions"]["mode"] == "token"
    assert "--store /" in spec["entrypoint"]


def test_bash_can_read_the_slurm_script() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "deploy" / "slurm.sbatch")], check=True)


def test_a_working_dir_upload_is_small_and_holds_the_packages(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    for part in ("reskd", "orchestrator", "sweeps"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, folder)
    for name in (".git", "data", "store", ".venv", "tests", "benchmarks"):
        (folder / name).mkdir()
        (folder / name / "large").write_bytes(random.Random(0).randbytes(2_000_000))
    package = tmp_path / "upload.zip"
    create_package(str(folder), package, include_gitignore=True)
    with zipfile.ZipFile(package) as upload:
        names = set(upload.namelist())
    assert {"sweeps/demo.yaml", "orchestrator/cli/main.py", "orchestrator/tables/published.yaml"} <= names
    assert {f"reskd/data/{path.name}" for path in (ROOT / "reskd" / "data").glob("*.py")} <= names
    assert package.stat().st_size < 2_000_000  # any of the six would be more
