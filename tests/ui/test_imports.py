"""The chat starts without what Chainlit brings along and nobody here uses."""

import subprocess
import sys
from pathlib import Path

_START = """
import sys
from pathlib import Path
from nebula.settings import Settings
from ui.server import create

create(Settings(_env_file=None, home=Path(sys.argv[1])))
assert "chainlit.server" in sys.modules
assert not [name for name in sys.modules if name.startswith("traceloop.sdk")], "it was imported"
import traceloop.sdk
assert traceloop.sdk.Traceloop is not None, "others get an empty one"
"""


def test_the_server_starts_without_the_tracing_of_a_cloud_service(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _START, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
