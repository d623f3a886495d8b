"""Run every benchmark, or those named, and write `docs/benchmarks.md`.

    python -m benchmarks            # all
    python -m benchmarks p1 p2      # some; the other sections of the page stay as they are
    python -m benchmarks chaos      # real processes under random faults; see benchmarks/chaos

A benchmark is a module `benchmarks/p<number>.py` (speed, quality), `r<number>.py` (what must
hold) or `s<number>.py` (what must not happen) whose docstring says what is measured and whose
`main()` prints the result. Each runs in a process of its own.
"""

import argparse
import ast
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
_INTRO = """# Benchmarks

Made by `make bench` (`python -m benchmarks`); peers run in the same session on the same machine.
Absolute times drift on shared machines: the ratios count. Goals are compared, never enforced.
"""
_GOAL = re.compile(r"[prs]\d+")
_SECTION = re.compile(r"<!-- ([prs]\d+) -->\n.*?<!-- /\1 -->\n", re.DOTALL)


def main() -> None:
    """Run, print, and write the page."""
    if sys.argv[1:2] == ["chaos"]:
        from benchmarks.chaos.__main__ import main as chaos

        sys.exit(chaos(sys.argv[2:]))
    named = (path.stem for path in HERE.glob("*.py") if _GOAL.fullmatch(path.stem))
    known = sorted(named, key=lambda name: (name[0], int(name[1:])))
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("goals", nargs="*", type=str.lower, default=[], metavar="goal")
    goals = reader.parse_args().goals or known
    unknown = sorted(set(goals) - set(known))
    if unknown:
        reader.error(f"there is no {', '.join(unknown)}; there is {', '.join(known)}")
    sections = _written()
    failed = []
    for goal in goals:
        print(f"== {goal}", flush=True)
        output = _run(goal)
        if output is None:
            failed.append(goal)
        else:
            sections[goal] = _section(goal, output)
    PAGE.write_text(
        _INTRO + "".join(f"\n{sections[name]}" for name in known if name in sections),
        encoding="utf-8",
    )
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(goal: str) -> str | None:
    """Run one benchmark, showing its output; None when it broke."""
    command = [sys.executable, "-m", f"benchmarks.{goal}"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return "".join(lines) if process.returncode == 0 else None


def _section(goal: str, output: str) -> str:
    source = (HERE / f"{goal}.py").read_text(encoding="utf-8")
    title, _, more = (ast.get_docstring(ast.parse(source)) or goal).partition("\n")
    about = "\n".join(line for line in more.strip().splitlines() if not line.startswith("Run:"))
    about = re.sub(r"\n{3,}", "\n\n", about).strip()
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"<!-- {goal} -->\n## {title}\n\n{about}\n\n```text\n{output.rstrip()}\n```\n\n"
        f"`python -m benchmarks {goal}` · {when} · {_machine()}\n<!-- /{goal} -->\n"
    )


def _written() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return {found[1]: found[0] for found in _SECTION.finditer(text)}


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    chip = named[1] if named else platform.processor() or platform.machine()
    cores = psutil.cpu_count()
    return f"{chip}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
