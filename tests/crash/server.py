"""Runs of the program in processes that are forked, not started: imports are paid for once.

    python server.py      one JSON request a line on standard input, one JSON answer a line back

Each request is a sitting: `bequeath ARGUMENTS` in `home`, in a child that does only that. Several
that begin at once are one request, `together`. What may disturb a sitting:

    kill_after: s          SIGKILL after so many seconds of wall time
    stop: "kill" | errno   at the first change of a file whose kind is not in `seen`: death there,
                           or an OSError
    limit: bytes, fatal    no file may grow beyond: the system kills the child in the middle of the
                           write (fatal), or tells it EFBIG; writers in Rust and C++ too

A change of a file is what Python's audit hooks report: a file opened to be written, renamed,
removed, a folder made or removed. Its kind is what is done and to which file, without numbers.
The answer: code (negative: the signal), kind (where it was stopped, else empty), said (what the
program wrote).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
DIED = 137


def main() -> None:
    import accelerate  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch

    from bequeath.evidence.report import build
    from bequeath.fleet import evaluate
    from bequeath.methods.catalog import all_methods

    all_methods()
    torch.set_num_threads(1)
    # Latency and pictures are not what is tested here, and most of what such a small run costs.
    evaluate.LATENCY_SECONDS = 0.0
    pictures = ("cost", "differences", "curves", "flips", "classes", "left")
    build._figures = lambda inputs: {name: [] for name in pictures}
    for line in sys.stdin:
        asked = json.loads(line)
        if "load" in asked:  # what an earlier child had to import
            for name in asked["load"]:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            answer({})
        elif "together" in asked:
            answer(together(asked["together"]))
        else:
            answer(sitting(**asked))


def answer(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def together(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sittings that begin at the same instant; their answers."""
    begun = [begin(number=i, **request) for i, request in enumerate(requests)]
    return [end(*one) for one in begun]


def sitting(kill_after: float | None = None, **request: Any) -> dict[str, Any]:
    """Fork, let the child run the program, wait for its end."""
    begun = begin(**request)
    if kill_after is not None:
        while time.monotonic() - begun[1] < kill_after:
            if os.waitid(os.P_PID, begun[0], os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.001)
        else:
            os.kill(begun[0], signal.SIGKILL)
    return end(*begun)


def begin(
    home: str, arguments: list[str], number: int = 0, **how: Any
) -> tuple[int, float, Path, Path]:
    said, spot = Path(home) / f"said-{number}.txt", Path(home) / f"spot-{number}.txt"
    said.write_bytes(b"")
    spot.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(Path(home), arguments, said, spot, **how)
    return child, began, said, spot


def end(child: int, began: float, said: Path, spot: Path) -> dict[str, Any]:
    _, status, used = os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "kind": spot.read_text(encoding="utf-8") if spot.exists() else "",
        "said": said.read_text(encoding="utf-8", errors="replace"),
    }


def _child(
    home: Path,
    arguments: list[str],
    said: Path,
    spot: Path,
    stop: str | int | None = None,
    seen: list[str] = (),  # type: ignore[assignment]
    limit: int | None = None,
    fatal: bool = False,
    user: int | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    code = 99
    try:
        os.chdir(home)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ["BEQUEATH_CACHE"] = str(home / "cache")
        os.environ["TMPDIR"] = str(home / "tmp")
        os.environ.update(environment or {})
        from bequeath.cli import run_cli

        if user is not None:
            os.setgid(user)
            os.setuid(user)
        if stop is not None:
            sys.addaudithook(_stopper(home, spot, stop, set(seen)))
        if limit is not None:
            if fatal:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        before = set(sys.modules)
        code = run_cli(arguments)
        if limit is None:
            new = [name for name in sys.modules if name not in before]
            (home / "imported.json").write_text(json.dumps(new), encoding="utf-8")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stopper(home: Path, spot: Path, stop: str | int, seen: set[str]) -> Any:
    """The audit hook: what is not ours, or of a kind seen before, goes on."""
    ours = [f"{home / part}" for part in ("out", "cache", "tmp")]
    armed = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not armed[0] or (event != "open" and event not in CHANGES):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = str(Path(os.fsdecode(arguments[0])).absolute())
        if not any(path == root or path.startswith(root + "/") for root in ours):
            return
        kind = f"{event} {_kind(path.removeprefix(str(home)))}"
        if kind in seen:
            return
        armed[0] = False
        spot.write_text(kind, encoding="utf-8")
        if stop == "kill":
            os._exit(DIED)
        if isinstance(stop, int):
            raise OSError(stop, os.strerror(stop), path)

    # What the system refuses is raised by no line of anybody's code.
    hook.__code__ = hook.__code__.replace(co_filename="<the system>")
    return hook


def _kind(path: str) -> str:
    """`/cache/0f3a.../.view-0.4711.part` -> `/cache/#/.view-#.part`; arms are all alike."""
    path = re.sub(r"^/out/(runs|work)/[^/]+", r"/out/\1/*", path)
    return re.sub(r"[0-9a-f]{12,}|(?<![a-z])[0-9]+[-0-9a-z]*(?=[./-]|$)", "#", path)


if __name__ == "__main__":
    main()
