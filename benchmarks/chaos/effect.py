"""The GPU work of the chaos run: `effect.py OUT KIND KEY SECONDS STUBBORN`, run by an agent.

It lives in its task's folder, where the agent wrote which card, token and job it is for. It says
when it begins and ends, takes effect half-way, and writes the time over and over, so that how long
it really lived is known even when it is killed. Standard library only.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

_TICK_SECONDS = 0.02


def main(out: Path, kind: str, key: str, seconds: float, stubborn: float) -> None:
    """Work for a while; `stubborn` is how long it goes on after it was asked to end."""
    began = time.time()
    asked: list[float] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(time.time()))
    task = json.loads(Path("request.json").read_text())
    about = {name: task[name] for name in ("task_id", "job", "gpu", "token", "vram")}
    about |= {"node": Path.cwd().parents[1].name, "pid": os.getpid(), "kind": kind}
    run = out / "runs" / f"{task['task_id']}-{os.getpid()}.json"
    run.write_text(json.dumps({**about, "began": began}))
    hold(out / "cards" / f"{about['node']}-{about['gpu']}", int(task["vram"]))
    done = False
    with run.with_suffix(".tick").open("wb", buffering=0) as tick:
        while (now := time.time()) < began + seconds:
            os.pwrite(tick.fileno(), f"{now:.4f}".encode(), 0)
            if asked and now > asked[0] + stubborn:
                sys.exit(143)
            if not done and now > began + seconds / 2:
                done = True
                take_effect(out, kind, key, about)
            time.sleep(_TICK_SECONDS)
        os.pwrite(tick.fileno(), f"{time.time():.4f}".encode(), 0)
    run.with_suffix(".done").touch()


def hold(card: Path, size: int) -> None:
    """Take memory of the pretended card, for as long as this process lives."""
    draft = card / f"{os.getpid()}.draft"
    draft.write_text(str(size))
    draft.replace(card / str(os.getpid()))


def take_effect(out: Path, kind: str, key: str, about: dict[str, object]) -> None:
    """Write one line; the outside system keeps the keys of keyed effects, and others not."""
    if kind == "keyed":
        try:
            os.close(os.open(out / "keys" / key, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    line = json.dumps({**about, "key": key, "at": time.time()}).encode() + b"\n"
    file = os.open(out / "effects.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


if __name__ == "__main__":
    folder, what, name, *times = sys.argv[1:]
    main(Path(folder), what, name, float(times[0]), float(times[1]))
