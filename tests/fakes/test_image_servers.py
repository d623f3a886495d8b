"""The fakes of ComfyUI and SD WebUI behave as the services they stand for."""

import httpx
from starlette.testclient import TestClient

from tests.fakes.comfyui import PNG, FakeComfyUI
from tests.fakes.sdwebui import FakeSdWebUi

GRAPH = {
    "1": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


def test_a_prompt_runs_and_only_its_submitter_hears_of_it() -> None:
    fake = FakeComfyUI()
    client = TestClient(fake)
    with client.websocket_connect("/ws?clientId=me") as mine:
        assert mine.receive_json()["data"]["sid"] == "me"
        body = {"prompt": GRAPH, "client_id": "me", "prompt_id": "p1"}
        assert client.post("/prompt", json=body).json() == {
            "prompt_id": "p1",
            "number": 1,
            "node_errors": {},
        }
        assert client.get("/history/p1").json() == {}
        entry = client.get("/history/p1").json()["p1"]
        kinds = [mine.receive_json() for _ in range(3)]
    assert [k["type"] for k in kinds] == ["execution_start", "executing", "execution_success"]
    assert kinds[1]["data"] == {"prompt_id": "p1", "node": None}
    assert entry["status"] == {"status_str": "success", "completed": True, "messages": []}
    assert entry["outputs"]["2"]["images"][0]["filename"] == "2.png"
    assert client.get("/view?filename=2.png").content == PNG


def test_a_prompt_that_is_wrong_is_refused_with_its_nodes() -> None:
    client = TestClient(FakeComfyUI(checkpoints={}))
    refused = client.post("/prompt", json={"prompt": GRAPH})
    assert refused.status_code == 400
    assert refused.json()["node_errors"]["1"]["errors"][0]["type"] == "value_not_in_list"
    no_outputs = client.post("/prompt", json={"prompt": {}})
    assert no_outputs.json()["error"]["type"] == "prompt_no_outputs"


async def test_free_only_raises_a_flag_that_the_idle_worker_reads_later() -> None:
    fake = FakeComfyUI(held=5, steps=2)
    transport = httpx.ASGITransport(fake)
    async with httpx.AsyncClient(transport=transport, base_url="http://comfy") as http:
        await http.post("/prompt", json={"prompt": GRAPH})
        await http.get("/queue")
        await http.post("/free", json={"unload_models": True})
        assert fake.server.held == 5, "nothing happens at once"
        await http.get("/queue")
        await http.get("/queue")
        assert fake.server.history, "the running prompt comes first"
        assert fake.server.held > 5
        await http.get("/queue")
    assert fake.server.held == 0


def test_pending_prompts_may_be_deleted_and_a_restart_forgets_everything() -> None:
    fake = FakeComfyUI()
    client = TestClient(fake)
    key = client.post("/prompt", json={"prompt": GRAPH}).json()["prompt_id"]
    client.post("/queue", json={"delete": [key]})
    assert client.get("/queue").json() == {"queue_running": [], "queue_pending": []}
    client.post("/prompt", json={"prompt": GRAPH})
    fake.restart()
    assert client.get("/history").json() == {}


def test_an_sd_webui_draws_and_remembers_its_options() -> None:
    client = TestClient(FakeSdWebUi())
    drawn = client.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "batch_size": 2}).json()
    assert len(drawn["images"]) == 2
    client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2})
    assert client.get("/sdapi/v1/options").json()["CLIP_stop_at_last_layers"] == 2
