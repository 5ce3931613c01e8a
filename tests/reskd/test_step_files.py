"""What each file of a step holds: of a step that was just written, and of one of an earlier version."""

from __future__ import annotations

import json
from pathlib import Path

from reskd.shapes import misfit
from reskd.step_files import kind_of, remedy
from tests.support.stored_sweep import StoredSweep

OLD = Path(__file__).parents[1] / "fixtures" / "store_6431d69" / "store" / "runs"


def test_every_file_of_a_step_is_known_and_has_the_shape_that_its_readers_need(tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path)
    stored.finish(stored.id_of("baseline", 0), 0.5)
    stored.start(stored.id_of("baseline", 1))
    stored.train(stored.id_of("baseline", 1), epoch=1)
    stored.fail(stored.id_of("baseline", 1))
    stored.store.prune(stored.id_of("baseline", 2), {"reason": "stopped early", "epoch": 1})
    met = set()
    for runs in (OLD, stored.store.home / "runs"):
        for path in (path for path in runs.rglob("*.*") if path.name != "lease.lock"):
            step_id, *parts = path.relative_to(runs).parts
            kind = kind_of("/".join(parts))
            assert kind is not None, path
            assert "{" not in remedy("/".join(parts), step_id)
            texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
            for text in texts if path.suffix in (".json", ".jsonl") else ():
                assert misfit(json.loads(text), kind.shape) is None, path
            met.add(path.name)
    assert met >= {
        "recipe.json",
        "start.json",
        "DONE.json",
        "failed.json",
        "pruned.json",
        "weights.pt",
        "metrics.jsonl",
    }


def test_a_lease_is_no_file_that_a_reader_of_steps_knows() -> None:
    assert kind_of("lease.json") is None
