"""Names as people say them, and what the map makes of them."""

from pathlib import Path

import pytest

from nebula.errors import NotFound
from nebula.services.map import NodeSpec, ServiceMap, ServiceSpec
from nebula.services.map_file import load_map
from nebula.services.resolve import all_names, resolve

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def services() -> ServiceMap:
    return load_map(ROOT / "service-map.yml", {"OLLAMA_HOST": "http://127.0.0.1"}, nvidia=True)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Stable Diffusion", ["comfyui", "sdwebui"]),
        ("stable-diffusion", ["comfyui", "sdwebui"]),
        ("the Stable Diffusion please", ["comfyui", "sdwebui"]),
        ("stabel difusion", ["comfyui", "sdwebui"]),
        ("SDXL", ["SDXL (comfyui)"]),
        ("sd xl", ["SDXL (comfyui)"]),
        ("llama", ["llama3.1:8b (ollama)"]),
        ("the chat model", ["llama3.1:8b (ollama)"]),
        ("LLAMA3.2:3B", ["llama3.2:3b (ollama)"]),
        ("llama3.2", ["llama3.2:3b (ollama)"]),
        ("ComfyUI", ["comfyui"]),
        ("a1111", ["sdwebui"]),
        ("ollama/mistral:7b", ["mistral:7b (ollama)"]),
    ],
)
def test_a_name_is_found_however_it_is_said(
    services: ServiceMap, said: str, meant: list[str]
) -> None:
    assert [str(t) for t in resolve(services, said)] == meant


@pytest.mark.parametrize("said", ["", "chatgpt", "????", "the", "\u202e", "x" * 5000])
def test_what_is_nothing_is_answered_with_suggestions(services: ServiceMap, said: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolve(services, said)
    assert "Did you mean" in caught.value.hint
    assert len(str(caught.value)) < 200


def test_a_node_that_does_not_exist_is_named(services: ServiceMap) -> None:
    with pytest.raises(NotFound, match="no node 'mars'") as caught:
        resolve(services, "llama", "mars")
    assert "this-machine" in caught.value.hint


def test_every_name_of_the_list_leads_somewhere(services: ServiceMap) -> None:
    for name in all_names(services):
        assert resolve(services, name)


def test_a_service_without_a_gpu_is_told_apart_from_an_unknown_one() -> None:
    photos = ServiceSpec(name="photos", kind="http", node="pc", port=80)
    with pytest.raises(NotFound, match="photos is a service without a GPU"):
        resolve(ServiceMap(nodes=(NodeSpec(name="pc"),), services=(photos,)), "photos")
