"""Python programs in processes of their own, each without the seconds that loading torch and torchvision takes.

One process loads the two and nothing else. Each program runs in a fork of it, with its own folder, environment and
search path for modules.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SERVER = """
import json, os, sys, traceback, types
import torch, torchvision

def run(asked):
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    sys.path[1:1] = asked["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = ["-c", *asked["arguments"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, asked["stdout"]), (2, asked["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        exec(compile(asked["program"], "<string>", "exec"), main.__dict__)
    except SystemExit as stopped:
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
            return 1
        return stopped.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    if not (child := os.fork()):
        code = run(json.loads(line))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmPython:
    """Runs programs as `python -c` does, one after another, in forks of one process."""

    def __init__(self, folder: Path) -> None:
        self._outputs = {name: folder / name for name in ("stdout", "stderr")}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=folder,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, program: str, *arguments: object, folder: Path, path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Exit code and output of a program that runs in ``folder`` and finds modules in ``path`` first."""
        for output in self._outputs.values():
            output.unlink(missing_ok=True)
        asked = {
            "program": program,
            "arguments": [str(argument) for argument in arguments],
            "folder": str(folder),
            "environment": {"PYTHONPATH": str(path)} if path else {},
            **{name: str(output) for name, output in self._outputs.items()},
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that programs are forked from has ended"
        return subprocess.CompletedProcess(
            arguments, int(answer), *(output.read_text() for output in self._outputs.values())
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
