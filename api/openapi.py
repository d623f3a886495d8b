"""The OpenAPI document: the hand-written routes as FastAPI sees them, plus every tool."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.bodies import TAKES, taken
from api.problems import Problem
from api.query import kinds_of
from api.tools import CALL_ID
from nebula.jobs.job import JobHandle
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.registry import Registry

_REF = "#/components/schemas/{model}"
_ABOUT = """Every tool as `POST /api/tools/{name}`, most also under a conventional path.

Authenticate with an API key (`Authorization: Bearer jk_…` or `X-API-Key`) or the session cookie.
Every error has the same shape. A call that needs a person's approval answers **202** with an
`approval_id` and returns its `Idempotency-Key`; repeat it with that key once it is approved.
A call that takes long answers **202** with a `job_id` and its `Location`; `/api/jobs/{job_id}`
shows it, `/api/jobs/{job_id}/events` follows it.
"""
_STATUSES = {
    "400": "The request cannot be understood",
    "401": "Sign in first",
    "403": "You may not do this",
    "404": "There is no such thing",
    "405": "This path has no such method",
    "409": "This collides with the present state",
    "413": "The body is too large",
    "415": "The body is not JSON",
    "422": "The arguments do not fit",
    "429": "Too many requests; try again later",
    "500": "Something broke on our side; the log has the reference",
    "502": "Another system refused, or it is unknown whether it happened",
    "503": "The database or another system does not answer",
    "504": "It took too long",
}
_OPEN = frozenset(
    {
        "/api/auth/sign-in",
        "/api/auth/link/{token}",
        "/api/nodes/join",
        "/api/hooks/{hook}",
    }
)


def document(api: FastAPI, registry: Registry, *, prefix: str = "/api") -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    base = get_openapi(
        title="Nebula Command", version=api.version, description=_ABOUT, routes=api.routes
    )
    schemas: dict[str, Any] = base.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _hoisted(Problem.model_json_schema(ref_template=_REF), schemas, "Problem")
    paths = {prefix + path: item for path, item in base["paths"].items()}
    for tool in registry:
        _add_tool(paths, schemas, tool, prefix)
    for path, operation in _operations(paths):
        _resolve_body(operation, schemas)
        _complete(path, operation)
    base["paths"] = dict(sorted(paths.items()))
    _add_shared(base["components"])
    return base


def _add_tool(paths: dict[str, Any], schemas: dict[str, Any], tool: AnyTool, prefix: str) -> None:
    given = _hoisted(tool.input_model.model_json_schema(ref_template=_REF), schemas, tool.name)
    output = tool.answer_model
    made = _component(output, schemas, mode="serialization")
    name = f"{tool.name}_input"
    schemas[name] = given
    body = {"application/json": {"schema": {"$ref": _REF.format(model=name)}}}
    by_name = _operation(tool, made) | {"requestBody": {"required": False, "content": body}}
    paths[f"{prefix}/tools/{tool.name}"] = {"post": by_name}
    if tool.rest is not None:
        method, path = tool.rest.split(" ")
        paths.setdefault(prefix + path, {})[method.lower()] = _conventional(
            tool, given, made, method, path
        )


def _operation(tool: AnyTool, made: dict[str, Any], suffix: str = "") -> dict[str, Any]:
    headers = {CALL_ID: {"description": "The call's id", "schema": {"type": "string"}}}
    result = {
        "description": "The result",
        "headers": headers,
        "content": {
            "application/json": {"schema": made},
            "text/markdown": {"schema": {"type": "string"}},
        },
    }
    responses = _outcomes(tool, result)
    says = "".join(f"\n- “{example}”" for example in tool.examples)
    return {
        "operationId": tool.name + suffix,
        "tags": [tool.feature],
        "summary": tool.summary,
        "description": f"{tool.description}\n\nEffect: **{tool.effect}**. Needs `{tool.permission}`."
        + (f"\n\nSay for instance:{says}" if says else ""),
        "parameters": [{"$ref": "#/components/parameters/CallId"}],
        "responses": responses,
        "x-effect": tool.effect,
        "x-permission": tool.permission,
    }


def _outcomes(tool: AnyTool, result: dict[str, Any]) -> dict[str, Any]:
    """Return what a call may answer: a result, or 202 with a job or a question to a person."""
    may_ask = tool.effect is not Effect.READ or tool.confirm
    if not may_ask and not issubclass(tool.answer_model, JobHandle):
        return {"200": result}
    asked = {"$ref": _REF.format(model="Problem")}
    later = {
        "description": "A person must approve it; then repeat it with the same call id",
        "headers": result["headers"],
        "content": {"application/json": {"schema": asked}},
    }
    if not issubclass(tool.answer_model, JobHandle):
        return {"200": result, "202": later}
    link = {"description": "Where to look at the job", "schema": {"type": "string"}}
    handle = result["content"]["application/json"]["schema"]
    schema = {"anyOf": [handle, asked]} if may_ask else handle
    return {
        "202": {
            "description": "It became a job (follow `GET /api/jobs/{job_id}/events`)"
            + ("; or a person must approve it first" if may_ask else ""),
            "headers": {**result["headers"], "Location": link},
            "content": {**result["content"], "application/json": {"schema": schema}},
        }
    }


def _conventional(
    tool: AnyTool, given: dict[str, Any], made: dict[str, Any], method: str, path: str
) -> dict[str, Any]:
    operation = _operation(tool, made, "_rest")
    properties: dict[str, Any] = given.get("properties", {})
    in_path = [name for name in properties if f"{{{name}}}" in path]
    rest = {name: schema for name, schema in properties.items() if name not in in_path}
    required = [name for name in given.get("required", []) if name in rest]
    for name in in_path:
        operation["parameters"].append(_parameter(name, properties[name], "path", required=True))
    if method in {"GET", "DELETE"}:
        for name, schema in rest.items():
            needed = name in required
            operation["parameters"].append(_parameter(name, schema, "query", required=needed))
    else:
        schema = {**given, "properties": rest, "required": required}
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": bool(required), "content": content}
    return operation


def _parameter(name: str, schema: dict[str, Any], where: str, *, required: bool) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": where, "required": required}
    if description := schema.get("description"):
        parameter["description"] = description
    if "object" in kinds_of(schema):
        parameter["content"] = {"application/json": {"schema": schema}}
    else:
        parameter["schema"] = schema
    return parameter


def _operations(paths: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in paths.items():
        for operation in item.values():
            yield path, operation


def _resolve_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    mark = operation.pop(TAKES, None)
    if mark is not None:
        schema = _component(taken(mark), schemas, mode="validation")
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Document every status that the doors themselves may answer."""
    responses = operation["responses"]
    for status in _STATUSES:
        # Replaced also where FastAPI wrote its own 422, which is not our shape.
        if status not in responses or status == "422":
            responses[status] = {"$ref": f"#/components/responses/{status}"}
    if path in _OPEN:
        operation["security"] = []


def _add_shared(components: dict[str, Any]) -> None:
    problem = {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    components["responses"] = {
        status: {"description": told, "content": problem} for status, told in _STATUSES.items()
    }
    components["parameters"] = {
        "CallId": {
            "name": CALL_ID,
            "in": "header",
            "required": False,
            "description": "Your own id for this call: repeating it tells the outcome again",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
        }
    }
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, jk_…"},
        "key_header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "session": {"type": "apiKey", "in": "cookie", "name": "jarvis_session"},
    }


def _component(model: type[BaseModel], schemas: dict[str, Any], *, mode: Any) -> dict[str, Any]:
    """Add a model to the components and return a reference to it."""
    schema = model.model_json_schema(ref_template=_REF, mode=mode)
    name = model.__name__
    found = _hoisted(schema, schemas, name)
    if schemas.get(name, found) != found:
        name = f"{model.__module__.split('.')[1]}_{name}"
    schemas[name] = found
    return {"$ref": _REF.format(model=name)}


def _hoisted(schema: dict[str, Any], schemas: dict[str, Any], owner: str) -> dict[str, Any]:
    """Move a schema's own definitions to the components, renaming those that collide."""
    renamed: dict[str, str] = {}
    definitions: dict[str, Any] = schema.pop("$defs", {})
    for name, definition in definitions.items():
        taken = name in schemas and schemas[name] != definition
        renamed[name] = f"{owner}_{name}" if taken else name
    for name, definition in definitions.items():
        schemas[renamed[name]] = _pointed(definition, renamed)
    pointed = _pointed(schema, renamed)
    assert isinstance(pointed, dict)
    return pointed


def _pointed(node: Any, renamed: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_pointed(item, renamed) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _pointed(value, renamed) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        changed["$ref"] = _REF.format(model=renamed.get(name, name))
    return changed
