"""The OpenAPI document, and thousands of odd requests made from it."""

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from nebula.auth.principal import Role
from nebula.tool.registry import Registry

METHODS = {"get", "post", "put", "patch", "delete"}
ELSEWHERE = {"upstream_unavailable", "upstream_rejected", "timed_out", "outcome_unknown"}
"""Errors that tell truthfully of another system, which a test has none of."""


@pytest.fixture
async def described(nobody: httpx.AsyncClient) -> dict[str, Any]:
    document = (await nobody.get("/api/openapi.json")).json()
    assert isinstance(document, dict)
    return document


async def test_every_tool_is_described_with_its_input_and_output(
    described: dict[str, Any], registry: Registry
) -> None:
    schemas = described["components"]["schemas"]
    for tool in registry:
        operation = described["paths"][f"/api/tools/{tool.name}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert schemas[body.rpartition("/")[2]]["properties"].keys() == (
            tool.input_model.model_fields.keys()
        )
        answers = operation["responses"]
        made = (answers.get("200") or answers["202"])["content"]["application/json"]["schema"]
        made = made.get("anyOf", [made])[0]["$ref"]
        assert schemas[made.rpartition("/")[2]]["type"] == "object"
        assert tool.description in operation["description"]
        if tool.rest:
            method, path = tool.rest.split(" ")
            assert method.lower() in described["paths"]["/api" + path]


async def test_every_reference_in_the_document_leads_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    assert "$defs" not in text and "HTTPValidationError" not in text
    for place in {part.split('"')[0] for part in text.split('"$ref": "#/')[1:]}:
        node: Any = described
        for part in place.split("/"):
            node = node[part]


async def test_every_operation_documents_the_one_error_shape(described: dict[str, Any]) -> None:
    for path, item in described["paths"].items():
        for method in METHODS & item.keys():
            for status in ("401", "404", "422", "500"):
                shape = item[method]["responses"][status]
                assert shape == {"$ref": f"#/components/responses/{status}"}, (path, method)


async def test_the_document_is_valid_openapi(described: dict[str, Any]) -> None:
    from openapi_pydantic import OpenAPI

    assert OpenAPI.model_validate(described).paths


PAUSING = {"/api/tools/policy_pause", "/api/policy/pause"}


def odd_requests(document: dict[str, Any], each: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Make requests from the document: fitting ones and broken ones, the same every time."""
    made: list[tuple[str, str, dict[str, Any]]] = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if operation.path in PAUSING:
            continue  # after it every other door would only say that all is paused
        _collect(operation, GenerationMode.POSITIVE, each, made)
        if _breakable(operation):
            with suppress(Unsatisfiable):
                _collect(operation, GenerationMode.NEGATIVE, each, made)
    return made


def _breakable(operation: Any) -> bool:
    """Say whether anything but a plain string is asked for; searching a wrong string takes long."""
    asked = [*operation.query, *operation.path_parameters]
    plain = {"type", "title", "description"}
    return bool(operation.body) or any(
        part.definition["in"] == "query"
        or part.definition["schema"].get("type") != "string"
        or not part.definition["schema"].keys() <= plain
        for part in asked
    )


def _collect(operation: Any, mode: GenerationMode, each: int, made: list[Any]) -> None:
    @hypothesis.settings(
        max_examples=each,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        request = case.as_transport_kwargs(base_url="http://unused")
        made.append((operation.method, operation.path, request))

    collect()


async def ask(http: httpx.AsyncClient, request: dict[str, Any]) -> tuple[int, str]:
    """Send a request; of a stream that does not end, read only how it begins."""
    request["url"] = httpx.URL(request["url"]).raw_path.decode()
    request.pop("cookies", None)
    request["headers"] = {k: v.encode() for k, v in dict(request["headers"]).items()}
    if not isinstance(request.get("data"), dict | list | None):
        request["content"] = request.pop("data")
    async with http.stream(**request) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer.status_code, ""
        return answer.status_code, (await answer.aread()).decode()


@pytest.mark.timeout(300)
async def test_no_odd_request_crashes_a_door_or_gets_an_undocumented_status(
    described: dict[str, Any], live: str, key: Callable[[Role], Awaitable[str]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        requests = await asyncio.to_thread(odd_requests, described, 3)
    headers = {"Authorization": f"Bearer {await key(Role.ADMIN)}"}
    slots = asyncio.Semaphore(8)
    wrong: list[object] = []

    async def check(method: str, path: str, request: dict[str, Any]) -> None:
        async with slots:
            status, text = await ask(http, dict(request))
        documented = described["paths"][path][method]["responses"]
        elsewhere = status in {502, 503, 504} and json.loads(text)["code"] in ELSEWHERE
        if (
            (status >= 500 and not elsewhere)
            or str(status) not in documented
            or (status >= 400 and not json.loads(text).keys() >= {"code", "detail", "retryable"})
        ):
            wrong.append((method, path, status, text, request))

    async with httpx.AsyncClient(base_url=live, headers=headers, timeout=60) as http:
        await asyncio.gather(*[check(*request) for request in requests])
    assert len(requests) > 300
    assert not wrong, wrong[:5]
