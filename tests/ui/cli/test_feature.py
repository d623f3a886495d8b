import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nebula.errors import Conflict, InvalidInput
from nebula.packages import LAYERS, checkout
from ui.cli.feature import new_feature

_COPIED = (*LAYERS, "tests", "pyproject.toml", "service-map.yml")


def test_a_new_feature_passes_its_test_and_the_gates_at_once(tmp_path: Path) -> None:
    for name in _COPIED:
        source = checkout() / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "generated")
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(source, tmp_path / name)
    written = [*new_feature("weather", tmp_path), *new_feature("w" * 21, tmp_path)]
    commands = [
        [sys.executable, "-m", "pytest", "-n", "0", "tests/tools/test_weather.py"],
        [sys.executable, "-m", "ruff", "check", *map(str, written)],
        [sys.executable, "-m", "ruff", "format", "--check", *map(str, written)],
    ]
    for command in commands:
        ended = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_feature_that_exists_is_left_alone(tmp_path: Path) -> None:
    new_feature("weather", tmp_path)
    (tmp_path / "tools/weather/tools.py").write_text("mine")
    with pytest.raises(Conflict):
        new_feature("weather", tmp_path)
    assert (tmp_path / "tools/weather/tools.py").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["", "Weather", "my-feature", "two words", "../evil", "class", "x" * 30]
)
def test_a_bad_name_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        new_feature(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
