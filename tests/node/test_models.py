"""Storing a model on a machine: inside the folder its owner names, and nowhere else."""

import hashlib
from pathlib import Path

import pytest

from node.fetch import Failed
from node.models import store
from tests.node.agent import AgentProcess

DATA = b"weights" * 100
SHA = hashlib.sha256(DATA).hexdigest()
NOWHERE = "http://127.0.0.1:1/file"


@pytest.mark.parametrize(
    "path",
    ["../x.safetensors", "/etc/x.safetensors", "loras/../../x.gguf", "a\\x.gguf", "C:/x.gguf",
     "loras/x.sh", "loras/x", "", "a/b/c/d/e/f/g/h/x.gguf"],
)  # fmt: skip
def test_a_path_that_leads_out_or_is_no_model_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(Failed, match="no place"):
        store(tmp_path, NOWHERE, path, SHA, len(DATA))
    assert list(tmp_path.iterdir()) == []


def test_a_link_below_the_folder_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "models", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "loras").symlink_to(outside)
    with pytest.raises(Failed, match="is a link"):
        store(root, NOWHERE, "loras/x.safetensors", SHA, len(DATA))
    assert list(outside.iterdir()) == []


def test_what_is_there_is_compared_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(DATA)
    store(tmp_path, NOWHERE, "x.safetensors", SHA, len(DATA))
    with pytest.raises(Failed, match="another file"):
        store(tmp_path, NOWHERE, "x.safetensors", "0" * 64, len(DATA))
    assert file.read_bytes() == DATA


def test_a_disk_without_room_is_told_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="more bytes"):
        store(tmp_path, NOWHERE, "x.safetensors", SHA, 10**18)


async def test_an_owner_who_names_no_folder_gets_no_models(agent: AgentProcess) -> None:
    args = [NOWHERE, "loras/x.safetensors", SHA, "700"]
    refused = await agent.task("t1", "model:comfyui", args=args)
    assert refused.status_code == 403 and "names no folder" in refused.text
