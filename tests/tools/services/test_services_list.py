"""What services_list says."""

from nebula.tool.render import to_markdown
from tools.services.schemas import ServiceEntry, ServiceList


def test_simulated_services_are_named_so_and_mistakes_of_the_map_are_shown() -> None:
    report = ServiceList(
        services=[
            ServiceEntry(
                name="fake",
                kind="ollama",
                node="pc",
                address="simulated",
                state="up",
                simulated=True,
            ),
            ServiceEntry(
                name="comfyui",
                kind="comfyui",
                node="pc",
                address="http://127.0.0.1:8188",
                state="down",
                reason="nothing listens there",
            ),
        ],
        map_problems=["service-map.yml line 3: services.0: unknown key 'vrm'"],
    )
    text = to_markdown(report.render())
    assert "| fake | ollama | pc | simulated |" in text
    assert "nothing listens there" in text
    assert "the last good one is in force" in text
    assert "line 3" in text
