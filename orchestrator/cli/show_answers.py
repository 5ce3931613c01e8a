"""Prints what an entry is based on, and the differences between two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.store.step_diff import Difference

MAX_SKIPPED = 5


def show_chain(chain: Mapping[str, Any], console: Console) -> None:
    """Print the entry, then each seed with its step and, indented, the step of its teacher. Each step is printed
    once."""
    console.print(f"{chain['table']}: {chain['row']}, {chain['column']} ({chain['unit']})", style="bold", markup=False)
    _print(console, f"{chain['value']}")
    for name in ("delta", "published"):
        if chain[name]:
            _print(console, f"{name}: {chain[name]}")
    _print(console, f"asked by {chain['file']}: {chain['question']}")
    told: set[str] = set()
    for found in chain["seeds"]:
        value = "" if found["value"] is None else f"  {found['value']:.6g} {chain['unit']}"
        console.print(f"\nseed {found['seed']}: {found['state']}{value}", style="bold", markup=False)
        for line in _step_lines(found["step"], told, indent="  "):
            _print(console, line)


def _step_lines(step: Mapping[str, Any], told: set[str], *, indent: str) -> Iterator[str]:
    yield f"{indent}step {step['id']}  {step['words']}"
    inner = f"{indent}  "
    if step["id"] in told:
        yield f"{inner}as above"
        return
    told.add(step["id"])
    facts = {
        "state": step["state"] + ("" if step["file"] else f", epoch {step['epochs']}"),
        "imported from": step["file"],
        "why": step["reason"],
        "protocol": step["protocol"] and f"{step['protocol']}: {_clips(step)}",
        "device": step["device"],
        "data": f"{step['data']['name']}, manifest {step['data']['sha256'][:16]} {step['data']['manifest'] or ''}",
        "code": step["commit"] and f"commit {step['commit']}",
        "versions": ", ".join(f"{name} {version}" for name, version in (step["versions"] or {}).items()),
        "tested on" if step["file"] else "trained on": step["host"] and f"{step['host']}, {step['workers']} workers",
        "folder": step["folder"],
    }
    for name, fact in facts.items():
        if fact:
            yield f"{inner}{name}: {fact}"
    if isinstance(step["teacher"], str):
        yield f"{inner}taught by the checkpoint {step['teacher']}"
    elif step["teacher"]:
        yield f"{inner}taught by"
        yield from _step_lines(step["teacher"], told, indent=f"{inner}  ")


def _clips(step: Mapping[str, Any]) -> str:
    skipped: Sequence[str] = step["skipped"]
    names = f" ({', '.join(skipped[:MAX_SKIPPED])}{', ...' if len(skipped) > MAX_SKIPPED else ''})" if skipped else ""
    return f"{step['num_clips']} clips evaluated, {step['num_skipped']} skipped{names}"


def show_differences(found: Sequence[Difference], console: Console, *, ids: tuple[str, str]) -> None:
    """Print the fields of identity first. Fields that are only recorded are dim."""
    if ids[0] == ids[1]:
        console.print(f"{ids[0]} is one step")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("field", *ids):
        table.add_column(heading, overflow="fold")
    for one in found:
        style = "" if one.counts else "dim"
        table.add_row(*(Text(text, style=style) for text in (one.field, _value(one.first), _value(one.second))))
    console.print(table)
    num_counting = sum(one.counts for one in found)
    console.print(
        f"{num_counting} fields make them different steps; {len(found) - num_counting} more are only recorded"
    )


def _value(value: Any) -> str:
    return "" if value is None else str(value)


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
