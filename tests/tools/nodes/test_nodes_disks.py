"""nodes_disks: this machine, machines that joined, and what is not known."""

import shutil
from dataclasses import replace
from typing import Any

import pytest

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.policy.labels import Label
from nebula.services.nodes.node import NodeHealth
from nebula.tool.render import to_markdown
from node.protocol import Disk, Hardware, Heartbeat, JoinRequest, Metrics

GIB = 1024**3
HARDWARE = Hardware(hostname="pc", os="Linux", disks=(Disk("/", 500 * GIB, 400 * GIB),))


@pytest.fixture
def look(app: App, viewer: Principal) -> Any:
    calls = iter(range(100))

    async def look(**arguments: Any) -> Any:
        caller = Caller(viewer, Surface.REST)
        return await app.executor.execute(
            "nodes_disks", arguments, caller=caller, call_id=f"disks-{next(calls)}"
        )

    return look


async def test_this_machine_is_always_looked_at(look: Any, app: App) -> None:
    report = await look(below_percent=100)
    usage = shutil.disk_usage(app.parts.settings.home)
    [disk] = report.disks
    assert (disk.machine, disk.total_gb) == ("this machine", round(usage.total / GIB, 1))
    assert report.low == [disk] and "this machine" in report.summary
    assert report.origin() is Label.SYSTEM


async def test_a_machine_with_little_room_is_named_and_a_silent_one_too(
    look: Any, app: App
) -> None:
    nodes = app.parts.nodes
    for name in ("full-pc", "silent-pc"):
        token = (await nodes.create_token("admin")).token
        hardware = replace(HARDWARE, hostname=name)
        url = "http://127.0.0.1:8431"
        joined = await nodes.join(JoinRequest(token, name, url, hardware))
        if name == "full-pc":
            beat = Heartbeat("n", Metrics(disk_free=20 * GIB))
            await nodes.heartbeat(name, joined.secret, beat)
    assert await nodes.health("silent-pc") is NodeHealth.OFFLINE
    report = await look(below_percent=4.1)
    low = [disk for disk in report.low if disk.machine == "full-pc"]
    assert [(d.path, d.free_gb, d.free_percent) for d in low] == [("/", 20.0, 4.0)]
    assert "full-pc /: 20 GB free of 500 GB (4 %)" in report.summary
    assert report.silent == ["silent-pc"]
    assert report.origin() is Label.OUTSIDE
    assert "Offline, so not known: silent-pc" in to_markdown(report.render()).replace("\\", "")
    assert not [d for d in (await look(below_percent=4.0)).low if d.machine == "full-pc"]
