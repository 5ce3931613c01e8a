"""Checks that a worker node of the cluster sees the same store and videos as the planning process."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.store.open import store_of
from orchestrator.store.store import STORE_VARIABLE, Store
from reskd.data.annotations import DATA_VARIABLE
from reskd.errors import BadInput

logger = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 120
HEAD_MARK = "node:__internal_head__"


def find_fault(address: str, note: str, roots: Sequence[str]) -> str | None:
    """Return what is wrong with the store and the folders on this machine, or None.

    ``note`` is the key of a piece that the planning process has written into the store. A folder that has the same path
    but is not shared does not hold it.
    """
    here = os.uname().nodename
    try:
        blobs = store_of(address).blobs
        found = blobs.read(note)
        if found is None:
            return f"--store {address}: not shared; worker node {here} does not see what is written there"
        if found != note.encode():
            return f"--store {address}: another folder on {here}"
        blobs.write(f"{note}-answer", note.encode())
        blobs.delete([f"{note}-answer"])
    except BadInput as error:
        return f"{error}; so says worker node {here}"
    except OSError as error:
        return f"--store {address}: worker node {here} cannot read and write there ({error.strerror or error})"
    for root in roots:
        if not os.path.isdir(root) or not os.access(root, os.R_OK | os.X_OK):
            return f"data.root {root}: worker node {here} has no such folder, or may not read it"
    return None


def worker_nodes(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """Ids of living nodes other than the head, from the output of ``ray.nodes()``."""
    return [node["NodeID"] for node in nodes if node["Alive"] and HEAD_MARK not in node["Resources"]]


def check_on_worker(store: Store, roots: Sequence[str]) -> None:
    """Run a small task on a worker node that tests the store and looks for the videos.

    Raises BadInput with what to set.

    If no worker node is up (a cluster that scales from zero), nothing can be checked, and the log says so.
    """
    nodes = worker_nodes(ray.nodes())
    if not nodes:
        logger.warning("no worker node is up yet, so whether one sees %s is not checked", store.address)
        return
    note = f".seen-{uuid.uuid4().hex}"
    store.blobs.write(note, note.encode())
    try:
        there = NodeAffinitySchedulingStrategy(nodes[0], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(find_fault).options(scheduling_strategy=there)
        fault = ray.get(task.remote(store.address, note, list(roots)), timeout=CHECK_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        raise BadInput(
            f"worker node {nodes[0][:8]} could not check the store: {str(error).strip().splitlines()[-1]}; "
            f"does its image have the packages of constraints.txt?"
        ) from error
    finally:
        store.blobs.delete([note])
    if fault:
        raise BadInput(
            f"{fault}; mount shared storage at one path on every machine, then set --store (or {STORE_VARIABLE}) and "
            f"data.root (or {DATA_VARIABLE}) to folders on it; a store in a bucket needs no mount, but the same "
            "credentials and AWS_ENDPOINT_URL on every machine"
        )
