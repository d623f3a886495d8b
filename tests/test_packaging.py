import tomllib

from nebula.packages import LAYERS, checkout
from ui.cli.doctor import foreign_packages


def test_every_top_level_name_comes_from_this_checkout() -> None:
    assert foreign_packages() == {}


def test_every_layer_is_installed_and_none_of_its_modules_shadows_the_standard_library() -> None:
    project = tomllib.loads((checkout() / "pyproject.toml").read_text())
    included = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"{layer}*" for layer in LAYERS} <= set(included)
    assert all((checkout() / layer / "__init__.py").exists() for layer in (*LAYERS, "tests"))


def test_the_lock_holds_hashes_and_no_addresses_and_no_package_that_takes_our_names() -> None:
    lines = (checkout() / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert all("==" in line and line.endswith("\\") for line in pinned)
    names = {line.split("==")[0] for line in pinned if "sys_platform == 'never'" not in line}
    assert "openai-agents" not in names
    assert not names & {"torch", "sentence-transformers"}
