"""Names of models and files from outside: read strictly, written safely. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nebula.errors import InvalidInput, NotFound, PermissionDenied
from nebula.services.folders import ModelKind
from tools.models.choosing import choose
from tools.models.naming import BESIDE, WEIGHTS, safe_folder, safe_name, safe_path
from tools.models.offer import Offer, OfferedFile
from tools.models.reference import Reference, Source, ollama_name, read_reference

HOSTS = ("hf.co", "registry.ollama.ai")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("sd_xl_base_1.0.safetensors", "sd_xl_base_1.0.safetensors"),
        ("Pixel Art (v2) [fp16].safetensors", "Pixel Art (v2) [fp16].safetensors"),
        ("../../etc/passwd.safetensors", "passwd.safetensors"),
        ("..\\..\\windows\\x.ckpt", "x.ckpt"),
        ("/abs/x.GGUF", "x.gguf"),
        ("a\x00b\n\u202ec.safetensors", "abc.safetensors"),
        ("a:b*?<>|\"$`;.safetensors", "a_b_________.safetensors"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("-rf.safetensors", "rf.safetensors"),
        ("con.safetensors", "_con.safetensors"),
        ("ünïcode.safetensors", "ünïcode.safetensors"),
    ],
)  # fmt: skip
def test_a_file_name_becomes_one_safe_component(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    "name", ["", "..", ".", "/", "x", "x.exe", ".safetensors", "x.safetensors/..", "x.part", "x.py"]
)
def test_what_is_no_model_file_has_no_safe_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        safe_name(name)


@given(st.text(max_size=300))
def test_no_text_makes_a_name_that_leaves_its_folder(text: str) -> None:
    try:
        made = safe_name(f"m{text}.safetensors")
    except InvalidInput:
        made = safe_name(f"{text}m.safetensors")
    assert "/" not in made and "\\" not in made and made not in {".", ".."}
    assert not made.startswith((".", "-", " ")) and made.isprintable()
    assert len(made.encode()) <= 200
    folder = safe_folder(text)
    assert folder not in {"", ".", ".."} and not set(folder) & set("/\\\0")


@pytest.mark.parametrize(
    "path", ["../x.json", "/x.json", "a//x.json", "a/./x.json", "a\\x.json", "a/b/c/d/e/f/x.json", "a/x.sh"]
)  # fmt: skip
def test_a_path_that_climbs_or_is_no_part_of_a_model_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        safe_path(path)


def test_a_path_inside_a_model_keeps_its_folders() -> None:
    assert str(safe_path("unet/diffusion model.safetensors")) == "unet/diffusion model.safetensors"
    assert not WEIGHTS & BESIDE


HF, CA, OL = Source.HUGGINGFACE, Source.CIVITAI, Source.OLLAMA


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("llama3.2:3b", Reference(None, "llama3.2:3b")),
        ("ollama:mx/embed", Reference(OL, "mx/embed")),
        ("hf.co/a/b:Q4_K_M", Reference(OL, "hf.co/a/b:Q4_K_M")),
        ("owner/name", Reference(HF, "owner/name")),
        ("hf:owner/name@v1", Reference(HF, "owner/name", "v1")),
        ("https://huggingface.co/a/b", Reference(HF, "a/b")),
        ("https://huggingface.co/a/b/tree/dev", Reference(HF, "a/b", "dev")),
        (
            "https://huggingface.co/a/b/resolve/main/x/y%20z.safetensors?download=true",
            Reference(HF, "a/b", "main", "x/y z.safetensors"),
        ),
        ("civitai:12", Reference(CA, "12")),
        ("civitai:12@34", Reference(CA, "12", "34")),
        ("urn:air:sdxl:checkpoint:civitai:827184@2514310", Reference(CA, "827184", "2514310")),
        ("https://civitai.com/models/12/name?modelVersionId=34", Reference(CA, "12", "34")),
        ("https://civitai.com/api/download/models/34", Reference(CA, "", "34")),
    ],
)
def test_a_model_is_read_however_people_name_it(text: str, read: Reference) -> None:
    assert read_reference(text) == read


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("https://evil.example/a/b", None),
        ("https://huggingface.co.evil.example/a/b", None),
        ("http://169.254.169.254/models/1", None),
        ("hf:../../etc", None),
        ("hf:a/b/c", None),
        ("civitai:twelve", None),
        ("civitai:1@two", None),
        ("owner/..", HF),
        ("civitai:12", HF),
    ],
)
def test_what_is_no_model_of_a_hub_is_refused(text: str, source: Source | None) -> None:
    with pytest.raises(InvalidInput):
        read_reference(text, source)


@pytest.mark.parametrize("name", ["llama3.2:3b", "mistral", "mx/embed:latest", "hf.co/a/b:Q4_K_M"])
def test_a_name_of_a_known_registry_is_given_to_ollama(name: str) -> None:
    assert ollama_name(name, HOSTS) == name


@pytest.mark.parametrize(
    "name",
    [
        "evil.example/a/b", "10.0.0.1/a/b:c", "10.0.0.1:8080/a/b:c", "localhost:80/a/b", "a/b/c/d",
        "http://evil.example/a/b", "../x", "a:", ":b", "a:b:c", "a b", "a/../b", "",
    ],
)  # fmt: skip
def test_a_name_that_would_send_ollama_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        ollama_name(name, HOSTS)


def offer(*names: str, kind: ModelKind | None = ModelKind.CHECKPOINTS, note: str = "") -> Offer:
    files = tuple(
        OfferedFile(name=n, size=10, primary="/" not in n, note=note if "bad" in n else "")
        for n in names
    )
    return Offer(source=HF, id="a/b", name="b", kind=kind, files=files)


def test_the_one_plain_file_is_chosen_before_pickled_ones() -> None:
    chosen = choose(offer("m.ckpt", "m.safetensors", "README.md"), None, None, None)
    assert [str(path) for _, path in chosen.files] == ["m.safetensors"]
    assert chosen.notes == ()


def test_a_pickled_file_is_taken_only_by_its_name_and_with_a_warning() -> None:
    with pytest.raises(InvalidInput, match="run code"):
        choose(offer("m.ckpt"), None, None, None)
    assert "run code" in choose(offer("m.ckpt"), "m.ckpt", None, None).notes[0]


def test_several_files_are_named_with_their_sizes() -> None:
    with pytest.raises(InvalidInput) as caught:
        choose(offer("a.safetensors", "b.safetensors"), None, None, None)
    assert "a.safetensors" in caught.value.hint and "b.safetensors" in caught.value.hint


def test_a_file_that_a_scan_found_bad_is_never_fetched() -> None:
    with pytest.raises(PermissionDenied, match="Danger"):
        choose(offer("bad.safetensors", note="Danger"), "bad.safetensors", None, None)


def test_a_given_name_keeps_the_files_own_ending() -> None:
    chosen = choose(offer("m.safetensors"), None, None, "../evil.ckpt")
    assert [str(path) for _, path in chosen.files] == ["evil.ckpt.safetensors"]


def test_a_pattern_chooses_weights_and_the_small_files_beside_them() -> None:
    made = offer("unet/m.safetensors", "unet/m.bin", "unet/config.json", "vae/v.safetensors")
    chosen = choose(made, "unet/*", None, None)
    assert [str(path) for _, path in chosen.files] == ["b/unet/m.safetensors", "b/unet/config.json"]
    with pytest.raises(NotFound):
        choose(made, "text/*", None, None)


def test_what_a_file_is_for_must_be_known() -> None:
    with pytest.raises(InvalidInput, match="language model"):
        choose(offer("m.gguf", kind=None), None, None, None)
    with pytest.raises(InvalidInput, match="not clear"):
        choose(offer("m.safetensors", kind=None), None, None, None)
    assert (
        choose(offer("m.gguf", kind=None), None, ModelKind.TEXT_ENCODERS, None).kind
        == "text_encoders"
    )
