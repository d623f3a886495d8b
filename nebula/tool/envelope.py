"""The canonical form of a call: what an approval is bound to and a replay is compared by."""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785
from pydantic import BaseModel, SecretStr

from nebula.auth.principal import Caller
from nebula.secrets.references import Versions, shown
from nebula.tool.definition import AnyTool


def shown_arguments(values: BaseModel) -> dict[str, Any]:
    """Return the arguments as JSON values with secrets masked and references kept: for records."""
    return shown(values)


def arguments_sha256(values: BaseModel, call_id: str) -> str:
    """Hash the arguments with their real secrets, salted by the call, so that none leaks."""
    return _sha256({"shown": shown_arguments(values), "sealed": _sealed(values, call_id)})


def envelope(
    tool: AnyTool,
    values: BaseModel,
    caller: Caller,
    call_id: str,
    *,
    policy: str,
    secrets: Versions,
    resources: Mapping[str, str],
) -> dict[str, Any]:
    """Return everything an approval covers; changing any of it makes another call.

    `policy` is the version of the policy that asked, `secrets` the versions behind references,
    `resources` those of what the call would change.
    """
    return {
        "tool": tool.name,
        "schema": tool.schema_hash(),
        "arguments": shown_arguments(values),
        "sealed": _sealed(values, call_id),
        "secrets": dict(secrets),
        "principal": caller.principal.id,
        "key": caller.principal.key_id or "",
        "surface": caller.surface.value,
        "agent": caller.agent or "",
        "by_model": caller.by_model,
        "session": caller.session_id or "",
        "labels": sorted(caller.labels),
        "policy": policy,
        "resources": dict(resources),
    }


def envelope_sha256(body: dict[str, Any]) -> str:
    """Hash an envelope in its RFC 8785 form."""
    return _sha256(body)


def _sealed(values: BaseModel, call_id: str) -> dict[str, str]:
    found = {name: getattr(values, name) for name in type(values).model_fields}
    return {
        name: hashlib.sha256(f"{call_id}:{value.get_secret_value()}".encode()).hexdigest()
        for name, value in found.items()
        if isinstance(value, SecretStr)
    }


def _sha256(body: dict[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()
