"""What services_list says."""

from datetime import UTC, datetime

from nebula.services.map import NodeSpec, ServiceMap, ServiceSpec
from nebula.services.nodes.node import Node, NodeHealth
from nebula.tool.render import to_markdown
from node.protocol import Hardware, ServiceReport, ServiceState
from tools.services.schemas import ServiceEntry, ServiceList
from tools.services.service import looked_after


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


def _machine(*services: ServiceReport, health: NodeHealth = NodeHealth.ONLINE) -> Node:
    return Node(
        name="pc",
        url="http://127.0.0.1:8431",
        health=health,
        joined_at=datetime.now(UTC),
        hardware=Hardware(hostname="pc", os="Linux"),
        services=services,
    )


def test_services_that_only_an_agent_knows_are_listed_with_how_they_are() -> None:
    machine = _machine(
        ServiceReport("api", ServiceState.UP, port=9000),
        ServiceReport("slow", ServiceState.STARTING, port=9001, reason="not up yet: refused"),
        ServiceReport("crasher", ServiceState.WAITING, restarts=3, reason="it ended with code 3"),
        ServiceReport("old", ServiceState.STOPPED),
        ServiceReport("ollama", ServiceState.UP, port=11434),
    )
    spec = ServiceSpec(name="pc-ollama", kind="ollama", node="pc", port=11434)
    services = ServiceMap(nodes=(NodeSpec(name="pc", agent=True),), services=(spec,))
    assert [(e.name, e.state, e.reason) for e in looked_after([machine], services)] == [
        ("api", "up", ""),
        ("slow", "unknown", "starting: not up yet: refused"),
        ("crasher", "down", "is started again (3 times so far): it ended with code 3"),
        ("old", "down", "stopped"),
    ], "what the map has is listed once"
    assert [e.address for e in looked_after([machine], services, "API")] == ["127.0.0.1:9000"]
    silent = _machine(ServiceReport("api", ServiceState.UP), health=NodeHealth.OFFLINE)
    (entry,) = looked_after([silent], services)
    assert (entry.state, entry.reason) == ("unknown", "its machine is offline")
