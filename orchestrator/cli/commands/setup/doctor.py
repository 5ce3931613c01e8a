"""`reskd doctor`: checks this machine and says how to correct what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.text import Text

from orchestrator.cli.console import console
from orchestrator.cli.options import AsJson, StoreFolder

VERDICTS = {"ok": "green", "note": "yellow", "missing": "red"}


def doctor(store: StoreFolder = None, as_json: AsJson = False) -> None:
    """Test Python, torch, CUDA, decoders, Ray, MLflow and the store, and say how to correct what fails.

    Exit code 1: something needed is missing.
    """
    from orchestrator.cli.doctor import examine, is_fit

    findings = examine(store)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            line = Text.assemble(
                (f"{finding.verdict:8}", VERDICTS[finding.verdict]), f"{finding.what:{width}} {finding.found}"
            )
            console.print(line, soft_wrap=True)
            if finding.do:
                console.print(f"{'':{8 + width}} {finding.do}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if is_fit(findings) else 1)
