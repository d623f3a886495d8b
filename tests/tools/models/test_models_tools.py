"""models_list, models_search, models_show and models_delete through the executor."""

from pathlib import Path

import pytest

from nebula.auth.principal import Principal
from nebula.errors import (
    ApprovalRequired,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    RateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.policy.labels import Label
from nebula.services.sizes import GIB
from nebula.tool.render import to_markdown
from tests.fakes.ollama import LLAMA_8B
from tests.fakes.sdwebui import FakeSdWebUi
from tests.fakes.wire import Wire
from tests.tools.models.conftest import House
from tools.models.schemas import DeleteReport, ModelCard, ModelList, SearchReport


async def test_models_list_is_one_table_over_services_and_nodes(
    house: House, viewer: Principal
) -> None:
    house.ollama.server.loaded = {"llama3.1:8b": 5 * GIB}
    (house.folder / "checkpoints" / "sdxl.safetensors").write_bytes(b"x" * 2**20)
    (house.folder / "checkpoints" / "notes.txt").write_text("not a model")
    (house.folder / "loras" / "style").mkdir(parents=True)
    (house.folder / "loras" / "style" / "pixel.safetensors").write_bytes(b"x")
    (house.folder / "loras" / "pixel.safetensors.0011.part").write_bytes(b"x")
    listed: ModelList = await house.run(viewer, "models_list")
    by_name = {m.name: m for m in listed.models}
    chat = by_name["llama3.1:8b"]
    assert (chat.kind, chat.loaded, chat.vram_gb, chat.vram_source) == (
        "language",
        True,
        5.0,
        "loaded",
    )
    assert chat.detail == "llama 8.0B Q4_K_M" and chat.size_gb == round(LLAMA_8B.size / GIB, 2)
    assert by_name["llama3.2:3b"].loaded is False
    sdxl = by_name["sdxl.safetensors"]
    assert (sdxl.kind, sdxl.vram_gb, sdxl.vram_source, sdxl.in_map) == (
        "checkpoints",
        7.0,
        "budget",
        True,
    )
    assert by_name["far.safetensors"].size_gb is None, "ComfyUI tells it, the disk does not"
    assert by_name["style/pixel.safetensors"].kind == "loras"
    assert by_name["pixel.safetensors.0011.part"].partial
    assert by_name["toy:1b"].simulated
    assert "notes.txt" not in by_name
    assert any("attic-comfyui" in note for note in listed.notes), "it does not answer"
    assert listed.origin() is Label.OUTSIDE
    shown = to_markdown(listed.render())
    assert "unfinished download" in shown and "llama3.1:8b" in shown


async def test_models_list_narrows_to_a_service_a_node_and_a_kind(
    house: House, viewer: Principal
) -> None:
    one: ModelList = await house.run(viewer, "models_list", service="toy")
    assert [m.name for m in one.models] == ["toy:1b"]
    assert one.origin() is Label.SYSTEM, "the operator's own map names it"
    kinds: ModelList = await house.run(viewer, "models_list", node="pc", kind="checkpoints")
    assert {m.service for m in kinds.models} == {"comfyui"}
    with pytest.raises(NotFound):
        await house.run(viewer, "models_list", node="mars")


async def test_models_list_says_which_service_is_away_and_shows_its_files_all_the_same(
    house: House, viewer: Principal, wire: Wire
) -> None:
    (house.folder / "checkpoints" / "sdxl.safetensors").write_bytes(b"x")
    wire.unmount("http://comfy.test:8188")
    house.ollama.server.down = 500
    listed: ModelList = await house.run(viewer, "models_list", node="pc")
    assert [m.name for m in listed.models] == ["sdxl.safetensors"]
    assert len(listed.notes) == 2
    shown = to_markdown(listed.render())
    assert "under 10 MB" in shown and "comfyui: comfyui" not in shown


async def test_an_old_comfyui_tells_its_checkpoints_only(house: House, viewer: Principal) -> None:
    house.comfy.server.folders = None
    listed: ModelList = await house.run(viewer, "models_list", service="comfyui")
    assert {m.name for m in listed.models} == {"sdxl.safetensors", "far.safetensors"}


async def test_models_search_asks_both_hubs_and_says_how_ollama_names_models(
    house: House, viewer: Principal
) -> None:
    house.hub.repos["art/pixel-lora"] = house.hub.repos["stab/sdxl-turbo"]
    found: SearchReport = await house.run(viewer, "models_search", query="pixel")
    assert {(m.source, m.id) for m in found.found} == {
        ("huggingface", "art/pixel-lora"), ("civitai", "12"), ("civitai", "13"),
        ("civitai", "14"), ("civitai", "15"),
    }, "nothing that is not safe for work"  # fmt: skip
    assert found.origin() is Label.OUTSIDE
    shown = to_markdown(found.render())
    assert "ollama.com/library" in shown and "civitai:12" in shown


async def test_models_search_goes_on_when_one_hub_fails_and_raises_when_both_do(
    house: House, viewer: Principal
) -> None:
    house.civitai.status = [500, 500]
    found: SearchReport = await house.run(viewer, "models_search", query="sdxl")
    assert [m.id for m in found.found] == ["stab/sdxl-turbo"]
    assert "CivitAI has an error" in found.notes[0]
    house.civitai.status, house.hub.status = [503, 503], [503, 503]
    with pytest.raises(UpstreamUnavailable):
        await house.run(viewer, "models_search", query="sdxl")
    with pytest.raises(InvalidInput, match="cannot be searched"):
        await house.run(viewer, "models_search", query="llama", source="ollama")


async def test_a_short_rate_limit_is_waited_for_and_a_long_one_told(
    house: House, viewer: Principal
) -> None:
    house.hub.status, house.hub.retry_after = [429], "0"
    found = await house.run(viewer, "models_search", query="sdxl", source="huggingface")
    assert found.found
    house.hub.status, house.hub.retry_after = [429], "90"
    with pytest.raises(RateLimited, match="90 s"):
        await house.run(viewer, "models_search", query="sdxl", source="huggingface")


async def test_a_hub_that_answers_nonsense_is_named(house: House, viewer: Principal) -> None:
    house.hub.nonsense = True
    with pytest.raises(UpstreamRejected, match="not what Hugging Face should be"):
        await house.run(viewer, "models_search", query="sdxl", source="huggingface")


async def test_models_show_of_hugging_face_lists_files_sizes_and_licence(
    house: House, viewer: Principal
) -> None:
    card: ModelCard = await house.run(viewer, "models_show", model="stab/sdxl-turbo")
    assert (card.license, card.gated) == ("openrail++", False)
    assert [f.name for f in card.files if f.checksum and f.size_gb is not None] == [
        "sdxl_turbo.safetensors", "README.md", "unet/model.safetensors", "unet/config.json",
    ]  # fmt: skip
    assert card.origin() is Label.OUTSIDE
    gated: ModelCard = await house.run(viewer, "models_show", model="hf:stab/gated-xl")
    assert "must be accepted" in to_markdown(gated.render())


async def test_models_show_of_civitai_names_versions_words_and_warnings(
    house: House, viewer: Principal
) -> None:
    card: ModelCard = await house.run(viewer, "models_show", model="civitai:12")
    assert (card.base_model, card.trained_words) == ("SDXL 1.0", ["pixelstyle"])
    assert card.versions == ["900 v2", "899 v1"]
    virus: ModelCard = await house.run(viewer, "models_show", model="14", source="civitai")
    assert "Danger" in virus.files[0].note
    nude: ModelCard = await house.run(viewer, "models_show", model="civitai:16")
    assert nude.nsfw


async def test_models_show_of_an_installed_model_tells_family_context_and_licence(
    house: House, viewer: Principal
) -> None:
    card: ModelCard = await house.run(viewer, "models_show", model="llama3.1:8b")
    assert (card.family, card.parameters, card.quantization) == ("llama", "8.0B", "Q4_K_M")
    assert card.context_length == 131072
    assert card.license == "LLAMA COMMUNITY LICENSE AGREEMENT Version 3"
    assert card.where == ["ollama on pc"]
    with pytest.raises(NotFound, match="No service"):
        await house.run(viewer, "models_show", model="nothing:1b")


async def test_models_delete_removes_exactly_the_named_model_of_ollama(
    house: House, admin: Principal
) -> None:
    gone: DeleteReport = await house.approved(admin, "models_delete", model="llama3.2:3b")
    assert house.ollama.server.deleted == ["llama3.2:3b"]
    assert set(house.ollama.server.installed) == {"llama3.1:8b"}
    assert gone.freed_gb == 2.0 and "Deleted" in to_markdown(gone.render())
    [asked] = await house.app.parts.approvals.list(admin, state=None)
    assert ["frees", "2 GB"] in asked.evidence.preview[0].model_dump()["rows"]


async def test_models_delete_removes_one_file_and_nothing_beside_it(
    house: House, admin: Principal
) -> None:
    for name in ("a.safetensors", "b.safetensors", "b.safetensors.12.part"):
        (house.folder / "checkpoints" / name).write_bytes(b"x")
    await house.approved(admin, "models_delete", model="a.safetensors", service="comfyui")
    assert not (house.folder / "checkpoints" / "a.safetensors").exists()
    await house.approved(admin, "models_delete", model="b.safetensors.12.part")
    assert [p.name for p in (house.folder / "checkpoints").iterdir()] == ["b.safetensors"]


async def test_models_delete_waits_for_a_person(house: House, admin: Principal) -> None:
    with pytest.raises(ApprovalRequired):
        await house.run(admin, "models_delete", model="llama3.2:3b")
    assert house.ollama.server.deleted == []


async def test_models_delete_is_denied_to_who_may_only_look(
    house: House, viewer: Principal
) -> None:
    with pytest.raises(PermissionDenied):
        await house.run(viewer, "models_delete", model="llama3.2:3b")
    assert house.ollama.server.deleted == []


async def test_models_delete_with_ollama_away_deletes_nothing_and_says_so(
    house: House, admin: Principal
) -> None:
    house.ollama.server.down = 503
    with pytest.raises(NotFound) as caught:
        await house.approved(admin, "models_delete", model="llama3.2:3b")
    assert "ollama" in caught.value.hint
    assert house.ollama.server.deleted == []


async def test_models_delete_refuses_a_loaded_model_unless_told(
    house: House, admin: Principal
) -> None:
    house.ollama.server.loaded = {"llama3.1:8b": 5 * GIB}
    with pytest.raises(Conflict, match="is loaded"):
        await house.approved(admin, "models_delete", model="llama3.1:8b")
    gone = await house.approved(admin, "models_delete", model="llama3.1:8b", force=True)
    assert gone.unloaded
    assert house.ollama.server.deleted == ["llama3.1:8b"]


async def test_models_delete_asks_which_when_several_have_the_name(
    house: House, admin: Principal
) -> None:
    for folder in ("checkpoints", "loras"):
        (house.folder / folder).mkdir(exist_ok=True)
        (house.folder / folder / "same.safetensors").write_bytes(b"x")
    with pytest.raises(InvalidInput, match="Several"):
        await house.approved(admin, "models_delete", model="same.safetensors")
    with pytest.raises(NotFound):
        await house.approved(admin, "models_delete", model="same")
    assert (house.folder / "loras" / "same.safetensors").exists()


async def test_models_delete_leaves_links_and_far_files_alone(
    house: House, admin: Principal, tmp_path: Path
) -> None:
    outside = tmp_path / "precious.safetensors"
    outside.write_bytes(b"x")
    (house.folder / "checkpoints" / "linked.safetensors").symlink_to(outside)
    with pytest.raises(NotFound):
        await house.approved(admin, "models_delete", model="linked.safetensors")
    with pytest.raises(Conflict, match="not on this machine"):
        await house.approved(admin, "models_delete", model="far.safetensors")
    with pytest.raises(Conflict, match="simulated"):
        await house.approved(admin, "models_delete", model="toy:1b")
    assert outside.exists()


async def test_models_delete_refuses_what_holds_a_lease_unless_told(
    house: House, admin: Principal
) -> None:
    services = house.app.parts.services
    card = services.path.read_text().replace("- name: pc", "- name: pc\n    gpus: [{vram: 12 GB}]")
    services.path.write_text(card)
    await services.refresh()
    need = GpuNeed(service="ollama", model="llama3.1:8b", klass=PriorityClass.CHAT, what="a chat")
    async with house.app.parts.leases.hold(need, load=False, wait_seconds=10) as lease:
        assert lease.managed
        with pytest.raises(Conflict, match="a chat uses llama3"):
            await house.approved(admin, "models_delete", model="llama3.1:8b")
    assert house.ollama.server.deleted == []
    await house.approved(admin, "models_delete", model="llama3.1:8b", force=True)
    assert house.ollama.server.deleted == ["llama3.1:8b"]


async def test_sd_webui_lists_each_file_once_and_is_told_to_read_its_folder_again(
    house: House, admin: Principal, wire: Wire, tmp_path: Path
) -> None:
    webui = FakeSdWebUi(loras=["pixel v2", "far"])
    wire.mount("http://sd.test:7860", webui)
    services = house.app.parts.services
    entry = (
        "  - name: sdwebui\n    kind: sdwebui\n    node: pc\n    url: http://sd.test:7860\n"
        f"    models_folder: {tmp_path / 'webui'}\n"
    )
    (tmp_path / "webui").mkdir()
    services.path.write_text(services.path.read_text() + entry)
    job = await house.job(admin, model="civitai:12", service="sdwebui")
    assert job.error is None
    assert (tmp_path / "webui" / "models" / "Lora" / "pixel v2.safetensors").exists()
    assert webui.server.refreshed == ["refresh-loras"]
    log = await house.app.parts.jobs.log(job.id, admin)
    assert "checksum verified" in log[-1].text
    listed: ModelList = await house.run(admin, "models_list", service="sdwebui")
    assert [m.name for m in listed.models if m.kind == "loras"] == ["pixel v2.safetensors", "far"]
