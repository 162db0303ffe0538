from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crash_jobs import CANARY, RUN, SECRETS, files, result, sandbox


class Server:
    """The process that forks one child for each sitting (`server.py`)."""

    def __init__(self) -> None:
        source = str(Path(__file__).parents[2] / "src")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", **SECRETS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.known: set[str] = set()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def run(self, home: Path, *arguments: str, **how: Any) -> dict[str, Any]:
        """One sitting of the job in `home`; whatever came of it, no file holds a secret."""
        done = self.ask(home=str(home), arguments=list(arguments or RUN), **how)
        look(home, done)
        if (home / "imported.json").exists():
            there = json.loads((home / "imported.json").read_text(encoding="utf-8"))
            if new := [module for module in there if module not in self.known]:
                self.ask(load=new)  # the next children need not import it each
                self.known.update(new)
        return done

    def together(self, *requests: tuple[Path, tuple[str, ...]]) -> list[dict[str, Any]]:
        """Sittings that begin at the same instant."""
        asked = [{"home": str(home), "arguments": list(words)} for home, words in requests]
        answers: Any = self.ask(together=asked)
        for (home, _), done in zip(requests, answers):
            look(home, done)
        return list(answers)

    def undisturbed(self, home: Path, name: str) -> dict[str, bytes]:
        """What the job `name` comes to when nothing happens."""
        done = self.run(sandbox(home, name))
        assert done["code"] == 0, done["said"]
        return result(home)


def look(home: Path, done: dict[str, Any]) -> None:
    """What must hold after every sitting, however it ended."""
    assert "Traceback" not in done["said"], done["said"]
    for path in files(home):
        with suppress(FileNotFoundError):  # of another sitting that goes on
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    assert one.process.stdin is not None
    one.process.stdin.close()
    one.process.wait()
