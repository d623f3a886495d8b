"""Storing a model on a machine: inside the folder its owner names, and nowhere else."""

import hashlib
from pathlib import Path

import pytest

from node.erase import erase, find
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


def test_a_file_is_found_and_deleted_only_while_it_has_the_approved_size(tmp_path: Path) -> None:
    file = tmp_path / "loras" / "x.safetensors"
    file.parent.mkdir()
    file.write_bytes(DATA)
    assert find(tmp_path, "loras/x.safetensors") == (file, len(DATA))
    assert find(tmp_path, "loras/x") == (file, len(DATA)), "SD WebUI drops the ending"
    with pytest.raises(Failed, match="had 3"):
        erase(tmp_path, "loras/x.safetensors", 3)
    assert file.exists()
    assert erase(tmp_path, "loras/x", len(DATA)) == file
    assert not file.exists()
    with pytest.raises(Failed, match="is not in"):
        erase(tmp_path, "loras/x.safetensors", len(DATA))


@pytest.mark.parametrize(
    "path",
    ["../x.safetensors", "/etc/x.safetensors", "a\\x.gguf", "../x", "", "/",
     "a/b/c/d/e/f/g/h/x.gguf"],
)  # fmt: skip
def test_nothing_outside_the_folder_is_deleted(tmp_path: Path, path: str) -> None:
    root, outside = tmp_path / "models", tmp_path / "x.safetensors"
    root.mkdir()
    outside.write_bytes(DATA)
    with pytest.raises(Failed, match=r"no place|is not in"):
        erase(root, path, len(DATA))
    assert outside.exists()


def test_nothing_but_plain_files_of_weights_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(DATA)
    (tmp_path / "run.sh").write_bytes(DATA)
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x.gguf").write_bytes(DATA)
    (tmp_path / "link.gguf").symlink_to(tmp_path / "kept" / "x.gguf")
    (tmp_path / "way").symlink_to(tmp_path / "kept")
    for path, why in {
        "config.json": "is not in", "run.sh": "is not in", "folder.gguf": "no plain file|not a plain",
        "link.gguf": "is a link", "way/x.gguf": "is a link",
    }.items():  # fmt: skip
        with pytest.raises(Failed, match=why):
            erase(tmp_path, path, len(DATA))
    assert (tmp_path / "config.json").exists() and (tmp_path / "kept" / "x.gguf").exists()


def test_two_files_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(DATA)
    (tmp_path / "x.safetensors").write_bytes(DATA)
    with pytest.raises(Failed, match="several"):
        erase(tmp_path, "x", len(DATA))


async def test_models_are_deleted_where_the_owner_says_so_and_not_before(
    agent: AgentProcess, tmp_path: Path
) -> None:
    (tmp_path / "x.gguf").write_bytes(DATA)
    agent.configure(models={"comfyui": str(tmp_path)})
    args = ["x.gguf", str(len(DATA))]
    refused = await agent.task("e1", "model-delete:comfyui", args=args)
    assert refused.status_code == 403 and "delete_models: true" in refused.text
    agent.configure(models={"comfyui": str(tmp_path)}, delete_models="yes")
    assert (await agent.task("e2", "model-delete:comfyui", args=args)).status_code == 409
    agent.configure(models={"comfyui": str(tmp_path)}, delete_models=True)
    assert (await agent.task("e3", "model-delete:comfyui", args=args[:1])).status_code == 422
    assert (await agent.task("e4", "model-delete:sdwebui", args=args)).status_code == 403
    assert (tmp_path / "x.gguf").exists()
    assert (await agent.task("e5", "model-delete:comfyui", args=args)).status_code == 200
    assert (await agent.ended("e5"))["exit_code"] == 0
    assert not (tmp_path / "x.gguf").exists()
