"""The service map: what it accepts, and every mistake named with its line."""

from pathlib import Path

import pytest

from nebula.services.map import ServiceMap, Target
from nebula.services.map_file import load_map
from nebula.services.sizes import GIB
from nebula.yaml_file import BadFile

ROOT = Path(__file__).parents[3]

GOOD = """\
nodes:
  - name: box
    gpus:
      - {index: 0, name: RTX 3060, vram: 12 GB}
services:
  - name: ollama
    kind: ollama
    node: box
    url: ${OLLAMA_HOST}
    models:
      - {name: "llama3.1:8b", vram: 5.5 GB}
  - name: comfyui
    kind: comfyui
    node: box
    vram: 7 GB
"""


def load(path: Path, text: str, *, nvidia: bool = True) -> ServiceMap:
    file = path / "service-map.yml"
    file.write_text(text)
    return load_map(file, {"OLLAMA_HOST": "http://127.0.0.1:11434"}, nvidia=nvidia)


def problems(path: Path, text: str) -> list[str]:
    with pytest.raises(BadFile) as caught:
        load(path, text)
    return [str(p) for p in caught.value.problems]


def test_a_good_map_is_read_with_sizes_in_bytes_and_variables_filled(tmp_path: Path) -> None:
    services = load(tmp_path, GOOD)
    ollama = services.service("ollama")
    assert ollama is not None
    assert ollama.url == "http://127.0.0.1:11434"
    assert services.footprint(Target(service="ollama", model="llama3.1:8b")).vram == int(5.5 * GIB)
    comfy = services.service("comfyui")
    assert comfy is not None
    assert services.address(comfy) == "http://127.0.0.1:8188"


def test_the_map_that_comes_with_the_program_is_good(tmp_path: Path) -> None:
    text = (ROOT / "service-map.yml").read_text()
    assert load(tmp_path, text, nvidia=True).node("simulated-pc") is None
    without = load(tmp_path, text, nvidia=False)
    node = without.node("simulated-pc")
    assert node is not None
    assert node.simulated
    assert {s.name for s in without.on("simulated-pc")} == {"simulated-ollama", "simulated-comfyui"}


@pytest.mark.parametrize(
    ("broken", "line", "said"),
    [
        ("    vram: 7 GB", "    vrm: 7 GB", "unknown key 'vrm'; did you mean 'vram'?"),
        ("    vram: 7 GB", "    vram: 5.5 QB", "'5.5 QB' is not a size; write it with its unit"),
        ("    vram: 7 GB", "    vram: 7", "7 is not a size"),
        ("    vram: 7 GB", "    vram: -7 GB", "is not a size"),
        ("    vram: 7 GB", "    port: 99999", "less than or equal to 65535"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(
    tmp_path: Path, broken: str, line: str, said: str
) -> None:
    found = problems(tmp_path, GOOD.replace(broken, line))
    assert len(found) == 1
    assert found[0].startswith("service-map.yml line 15: services.1")
    assert said in found[0]


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("vram: 12 GB", "vram: 12 foo").replace("kind: comfyui", "kind: comfy")
    found = problems(tmp_path, text)
    assert [f.split(":")[0] for f in found] == [
        "service-map.yml line 4",
        "service-map.yml line 13",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD + "  - {name: Ollama, kind: http, node: box, port: 1}\n",
            "line 16: the name 'Ollama' is taken already (service-map.yml line 6)",
        ),
        (
            GOOD + "  - {name: x, kind: http, node: bxo, port: 1}\n",
            "line 16: 'x' is on the node 'bxo', which does not exist; did you mean 'box'?",
        ),
        (GOOD + "  - {name: x, kind: http, node: box}\n", "line 16: 'x' needs a url or a port"),
        (
            GOOD + "  - {name: x, kind: simulated, node: box}\n",
            "its node must say 'simulated: true'",
        ),
        (GOOD + "nodes: []\n", "line 16: the key 'nodes' stands twice"),
        (
            GOOD.replace("      - {index: 0,", "      - {index: 0}\n      - {index: 0,"),
            "two cards have the same index",
        ),
        ("nodes: [\n", "line 2: "),
        ("- 1\n- 2\n", "a mapping with keys is expected here"),
        ("just words\n", "a mapping with keys is expected here"),
        ("nodes:\n  - 3\n", "line 2: nodes.0: a mapping with keys is expected here, not 3"),
        ("nodes:\n  - {address: x}\n", "line 2: nodes.0.name: 'name' is missing"),
        ("version: 2\n", "line 1: version:"),
        (
            "a: !!python/object/apply:os.system ['true']\n",
            "line 1: could not determine a constructor",
        ),
        ('services:\n  - {name: "\\u202e", kind: http, node: box}\n', "line 2: services.0.name:"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in p for p in problems(tmp_path, text)), problems(tmp_path, text)


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "service-map.yml"
    file.write_bytes(b"nodes: []\n# \xff\n")
    with pytest.raises(BadFile, match="line 2: this is not UTF-8"):
        load_map(file, {}, nvidia=False)


def test_an_alias_bomb_is_refused_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert problems(tmp_path, "\n".join(lines)) == [
        "service-map.yml line 1: the file has too many entries"
    ]


def test_a_nodes_part_may_come_from_a_fragment(tmp_path: Path) -> None:
    folder = tmp_path / "service-map.d"
    folder.mkdir()
    (folder / "cloud.yml").write_text(
        "nodes:\n  - {name: cloud, address: 100.64.0.2}\n"
        "services:\n  - {name: far, kind: ollama, node: cloud}\n"
    )
    services = load(tmp_path, GOOD)
    far = services.service("far")
    assert far is not None
    assert services.address(far) == "http://100.64.0.2:11434"


def test_a_name_taken_in_another_file_is_named_with_both_places(tmp_path: Path) -> None:
    folder = tmp_path / "service-map.d"
    folder.mkdir()
    (folder / "twin.yml").write_text("# a copy\nnodes:\n  - name: box\n")
    assert problems(tmp_path, GOOD) == [
        "twin.yml line 3: the name 'box' is taken already (service-map.yml line 2)"
    ]


def test_compatible_sets_are_the_largest_that_fit_by_their_budgets(tmp_path: Path) -> None:
    text = (ROOT / "service-map.yml").read_text()
    services = load(tmp_path, text, nvidia=False)
    sets = [
        {str(t).split(" (")[0] for t in s}
        for s in services.compatible_sets("simulated-pc", 12 * GIB)
    ]
    assert {"llama3.1:8b", "llama3.2:3b", "nomic-embed-text"} in sets
    assert {"simulated-comfyui", "llama3.2:3b", "nomic-embed-text"} in sets
    assert not any({"simulated-comfyui", "llama3.1:8b"} <= s for s in sets)
