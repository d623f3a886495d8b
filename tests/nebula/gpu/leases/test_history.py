"""What the cards did becomes a trace that the simulator plays again."""

from nebula.gpu.policy.decide import decide
from nebula.gpu.simulate.report import report
from nebula.gpu.simulate.world import World
from nebula.services.sizes import GIB
from tests.nebula.gpu.leases.conftest import OpenGpu
from tests.nebula.gpu.leases.test_holding import CHAT, SDXL


async def test_ended_work_is_recorded_with_its_size_and_whether_it_had_to_load(
    open_lab: OpenGpu,
) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        assert (await lab.leases.history.trace("nothing", days=1)).jobs == ()
        async with lab.leases.hold(CHAT, owner_name="ann"):
            pass
        async with lab.leases.hold(SDXL):
            pass
        trace = await lab.leases.history.trace("today", days=1)
    chat, image = trace.jobs
    assert not trace.simulated
    assert (chat.service, chat.klass, image.model, image.klass) == (
        "ollama", "chat", "SDXL", "image"
    )  # fmt: skip
    assert chat.holds == "models" and image.holds == "one"
    assert chat.vram > GIB and image.vram > GIB
    assert chat.created == 0 < image.created
    assert report("ours", World(trace).run(decide)).finished == 2
