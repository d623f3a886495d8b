"""services_list through the executor, over a map with mistakes and services that are away."""

from typing import TYPE_CHECKING

import pytest

from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import NotFound
from nebula.settings import Settings
from tools.services.schemas import ServiceList

if TYPE_CHECKING:
    from nebula.app import App

MAP = """\
nodes:
  - name: pc
services:
  - name: comfyui
    kind: comfyui
    node: pc
    url: http://comfy.test:8188
    aliases: [Stable Diffusion]
  - {name: photos, kind: http, node: pc, url: "http://photos.test"}
"""


async def listed(app: "App", who: Principal, **arguments: str) -> ServiceList:
    caller = Caller(who, Surface.REST)
    result = await app.executor.execute("services_list", arguments, caller=caller, call_id="1")
    assert isinstance(result, ServiceList)
    return result


async def test_services_list_shows_health_and_a_broken_edit_with_its_line(
    app: "App", settings: Settings, viewer: Principal
) -> None:
    settings.service_map.write_text(MAP)
    found = await listed(app, viewer)
    assert [(s.name, s.state) for s in found.services] == [("comfyui", "down"), ("photos", "down")]
    assert "refused" in found.services[0].reason
    settings.service_map.write_text(MAP.replace('photos.test"', 'photos.test", colour: blue'))
    found = await listed(app, viewer)
    assert found.map_problems == ["service-map.yml line 9: services.1.colour: unknown key 'colour'"]
    assert len(found.services) == 2, "the last good map stays in force"
    assert (await listed(app, viewer, state="up")).services == []


async def test_without_a_map_the_one_that_comes_with_the_program_is_in_force(
    app: "App", viewer: Principal
) -> None:
    found = await listed(app, viewer)
    assert {"ollama", "comfyui", "sdwebui"} <= {s.name for s in found.services}
    assert "there is no such file" in found.map_problems[0]


async def test_services_list_may_be_asked_for_one_service_by_any_of_its_names(
    app: "App", settings: Settings, viewer: Principal
) -> None:
    settings.service_map.write_text(MAP)
    for said, names in [("PHOTOS", ["photos"]), ("stable diffusion", ["comfyui"])]:
        assert [s.name for s in (await listed(app, viewer, service=said)).services] == names
    with pytest.raises(NotFound, match="nothing-here"):
        await listed(app, viewer, service="nothing-here")
