"""What a machine is made of, by the words of drivers that are imitated at their own interface."""

import json
from pathlib import Path

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from node.detect import amd, machine, network, nvidia, services
from node.protocol import magic_packet
from tests.fakes.nvml import FakeCard, FakeNvml
from tests.fakes.serve import serve

GIB = 1024**3


def test_nvidia_cards_come_from_nvml_with_processes_and_versions() -> None:
    cards = [FakeCard(12 * GIB, 3 * GIB, processes={7: GIB, 9: None}), FakeCard(1, broken=True)]
    library = FakeNvml(cards)
    found, cuda, wrong = nvidia.cards(lambda: library)
    assert (cuda, wrong, library.users) == ("13.0", "", 0)
    assert (found[0].vram_total, found[0].vram_used) == (12 * GIB, 3 * GIB)
    assert (found[0].driver, found[0].utilization, found[0].power) == ("580.65.06", 0.42, None)
    assert [(p.pid, p.vram) for p in found[0].processes] == [(7, GIB), (9, None)]
    assert found[1].index == 1 and found[1].vram_total is None, "a lost card hides no other"


def test_cards_without_memory_of_their_own_slices_and_old_drivers_are_read_too() -> None:
    computer = psutil.virtual_memory().total
    cards = [
        FakeCard(None, processes=[(5, 2), (5, 3), (6, None)], draws={5: None, 6: 4}),
        FakeCard(80 * GIB, whole=False, slices=((10 * GIB, 3 * GIB),)),
        FakeCard(80 * GIB, whole=False),
    ]
    found, _, _ = nvidia.cards(lambda: FakeNvml(cards, lists="v2"))
    assert [c.vram_total for c in found] == [computer, 10 * GIB, None]
    assert found[1].vram_used == 3 * GIB
    assert [(p.pid, p.vram) for p in found[0].processes] == [(5, 5), (6, 4)]


def test_a_machine_without_a_driver_has_no_cards_and_nothing_is_wrong() -> None:
    found, cuda, wrong = nvidia.cards()
    assert (found, cuda, wrong) == ((), None, "")


def test_rocm_smi_is_read_whatever_its_units_are_called() -> None:
    text = json.dumps(
        {
            "card0": {
                "Card Series": "Radeon RX 7900 XTX",
                "VRAM Total Memory (B)": str(24 * GIB),
                "VRAM Total Used Memory (B)": str(3 * GIB),
                "GPU use (%)": "17",
                "Temperature (Sensor edge) (C)": "45.0",
                "Average Graphics Package Power (W)": "31.0",
            },
            "system": {"Driver version": "6.3"},
        }
    )
    (card,) = amd.from_rocm_smi(text)
    assert (card.name, card.vram_total, card.vram_used) == ("Radeon RX 7900 XTX", 24 * GIB, 3 * GIB)
    assert (card.utilization, card.temperature, card.power) == (0.17, 45.0, 31.0)
    assert amd.from_rocm_smi("rocm-smi: not found") == ()


def test_without_tools_the_kernels_own_files_tell_of_amd_cards(tmp_path: Path) -> None:
    for card, vendor in (("card0", "0x8086"), ("card1", "0x1002")):
        device = tmp_path / card / "device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor)
        (device / "mem_info_vram_total").write_text(str(16 * GIB))
        (device / "mem_info_vram_used").write_text("1024")
        (device / "gpu_busy_percent").write_text("50")
    (found,) = amd.cards(tmp_path)
    assert (found.index, found.vram_total, found.utilization) == (0, 16 * GIB, 0.5)
    (tmp_path / "version").write_text("6.2.0-66\n")
    assert amd.rocm_version(tmp_path / "version") == "6.2.0-66"


def test_the_machine_itself_is_looked_at_for_real(tmp_path: Path) -> None:
    found = machine.hardware(tmp_path / "not" / "there")
    assert found.hostname and found.cpu and found.ram and found.disks[0].total
    use = machine.metrics(tmp_path, {}, {})
    assert use.ram_used and use.ram_total and use.disk_free


@pytest.mark.parametrize(
    ("address", "expected"),
    [("100.64.0.1", True), ("100.127.255.255", True), ("100.128.0.1", False), ("fd7a:115c:a1e0::1", True),
     ("192.168.1.1", False), ("example.ts.net", False)],
)  # fmt: skip
def test_only_tailscales_ranges_are_tailscale(address: str, expected: bool) -> None:
    assert network.is_tailscale(address) is expected


def test_a_magic_packet_is_six_times_ff_and_sixteen_times_the_mac() -> None:
    packet = magic_packet("01-23-45-67-89-AB")
    assert packet == b"\xff" * 6 + bytes.fromhex("0123456789ab") * 16
    for wrong in ("", "01:23", "zz:zz:zz:zz:zz:zz"):
        with pytest.raises(ValueError, match=r"MAC|hex"):
            magic_packet(wrong)


async def test_services_are_known_by_their_answer_not_by_their_port() -> None:
    ollama = Starlette(routes=[Route("/api/version", lambda _: JSONResponse({"version": "0.11"}))])
    other = Starlette(routes=[Route("/system_stats", lambda _: PlainTextResponse("hello"))])
    async with serve(ollama) as one, serve(other) as two:
        ports = {
            "ollama": httpx.URL(one).port or 0,
            "comfyui": httpx.URL(two).port or 0,
            "sdwebui": 9,
        }
        found = await services.found("127.0.0.1", ports)
    assert [(f.kind, f.reachable) for f in found] == [("ollama", True)]
