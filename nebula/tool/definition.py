"""Typed tools: one async function, described well enough for a person, a model and a router."""

import hashlib
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    get_args,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, SecretStr, create_model

from nebula.policy.selectors import Kind
from nebula.tool.result import Block, Result

if TYPE_CHECKING:
    from nebula.gpu.leases.need import GpuNeed
    from nebula.tool.context import Context

    FindNeed = Callable[[Any], GpuNeed | None]
    FindCost = Callable[[Any], Decimal]
    FindPreview = Callable[[Context, Any], Awaitable[Sequence[Block]]]
    FindVersions = Callable[[Context, Any], Awaitable[Mapping[str, str]]]

P = ParamSpec("P")
R = TypeVar("R", bound=Result)

_NAME = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)+$")
_REST = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) (/[a-z0-9{}_/-]+)$")


class Effect(StrEnum):
    """What a tool does to the world; approval and MCP hints follow from it."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class EffectKind(StrEnum):
    """How an effect behaves when it is tried again."""

    IDEMPOTENT = "idempotent"
    KEYED = "keyed"
    CHECK_THEN_ACT = "check_then_act"
    OPAQUE = "opaque"


class Audience(StrEnum):
    """Who may ever be offered a tool."""

    EVERYONE = "everyone"
    HUMAN = "human"


class BadDeclaration(TypeError):
    """A tool's declaration is missing something or contradicts itself; the start fails."""


# A tool is the one object that its module declares; comparing twenty fields of each of 170 tools
# with each other took a turn longer than its model's answer.
@dataclass(frozen=True, eq=False)
class Tool(Generic[P, R]):
    """A tool. It has no `__call__`: only the executor runs it."""

    name: str
    feature: str
    description: str
    permission: str
    effect: Effect
    kind: EffectKind
    audience: Audience
    selectors: Mapping[str, Kind]
    """What decides where the effect goes, and how the values of each are compared."""
    outside: bool
    confirm: bool
    timeout: float
    rest: str | None
    says: tuple[str, ...]
    examples: tuple[str, ...]
    input_model: type[BaseModel]
    output_model: type[R]
    fn: "Callable[Concatenate[Context, P], Awaitable[R]]"
    background: bool = False
    """A call becomes a job: it returns a handle at once, and a worker runs it."""
    gpu: "FindNeed | None" = None
    """Tells from the validated arguments which GPU memory the job needs, or None."""
    egress: tuple[str, ...] = ()
    """Parameters that say which place outside is asked: an address, a host name."""
    public: bool = False
    """Its result holds nothing but what anybody may read."""
    critical: bool = False
    """A decision about it needs the web chat and a fresh sign-in."""
    while_paused: bool = False
    """It works while everything else that changes something is paused."""
    cost: "FindCost | None" = None
    """Tells from the validated arguments what a call costs, in the operator's currency."""
    preview: "FindPreview | None" = None
    """Shows whoever is asked what a call would do, from its validated arguments; it only looks."""
    versions: "FindVersions | None" = None
    """Names what a call would change, each with its present version: an approval holds for these."""

    @property
    def places(self) -> Mapping[str, Kind]:
        """Return what decides where a call takes effect or which place it asks, with its kind."""
        return {**dict.fromkeys(self.egress, Kind.PLACE), **self.selectors}

    @property
    def summary(self) -> str:
        """Return the description's first line."""
        return self.description.splitlines()[0]

    @property
    def answer_model(self) -> type[Result]:
        """Return what a call outside a job answers: the result, or a job's handle."""
        from nebula.jobs.job import JobHandle

        return JobHandle if self.background else self.output_model

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the arguments."""
        return self.input_model.model_json_schema()

    def schema_hash(self) -> str:
        """Return the SHA-256 that binds an approval to this declaration."""
        contract = [
            self.name,
            self.effect,
            self.permission,
            self.critical,
            list(self.selectors),
            self.schema(),
        ]
        return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


AnyTool = Tool[..., Any]


def tool(
    *,
    effect: Effect,
    rest: str | None = None,
    says: tuple[str, ...] | list[str] = (),
    examples: tuple[str, ...] | list[str] = (),
    selectors: Mapping[str, Kind] | Iterable[str] = (),
    kind: EffectKind | None = None,
    audience: Audience = Audience.EVERYONE,
    outside: bool = False,
    confirm: bool = False,
    permission: str | None = None,
    timeout: float = 30.0,
    background: bool = False,
    gpu: "FindNeed | None" = None,
    egress: Iterable[str] = (),
    public: bool = False,
    critical: bool = False,
    while_paused: bool = False,
    cost: "FindCost | None" = None,
    preview: "FindPreview | None" = None,
    versions: "FindVersions | None" = None,
) -> "Callable[[Callable[Concatenate[Context, P], Awaitable[R]]], Tool[P, R]]":
    """Turn an async function into a tool named after it and described by its docstring.

    `says` are hassil sentence templates (slots named after parameters), `examples` plain
    utterances; `selectors` are the parameters that decide where the effect goes, with what each
    names (plain words, when only the names are given); `confirm`
    asks a person even where the policy would not; `timeout` is in seconds, of one run.
    `background` makes every call a job; `gpu` tells from the arguments what it needs of a GPU.
    `egress` are the parameters that name a place outside; `public`, `critical`, `while_paused`,
    `cost`, `preview` and `versions` are as `Tool` says.

    Raises:
        BadDeclaration: when the declaration is incomplete or contradicts itself.
    """

    def wrap(fn: "Callable[Concatenate[Context, P], Awaitable[R]]") -> Tool[P, R]:
        feature = _feature_of(fn)
        hints = get_type_hints(fn, include_extras=True)
        built = Tool(
            name=fn.__name__,
            feature=feature,
            description=inspect.cleandoc(fn.__doc__ or ""),
            permission=permission or f"{feature}:{'read' if effect is Effect.READ else 'write'}",
            effect=effect,
            kind=kind or _default_kind(effect),
            audience=audience,
            selectors=_kinds(selectors),
            outside=outside,
            confirm=confirm,
            timeout=timeout,
            rest=rest,
            says=tuple(says),
            examples=tuple(examples),
            input_model=_input_model(fn, hints),
            output_model=hints.get("return", type(None)),
            fn=fn,
            background=background,
            gpu=gpu,
            egress=tuple(egress),
            public=public,
            critical=critical,
            while_paused=while_paused,
            cost=cost,
            preview=preview,
            versions=versions,
        )
        _check(built)
        return built

    return wrap


def _feature_of(fn: Callable[..., Any]) -> str:
    """Read the feature from `tools.<feature>.…` or `graphs.<feature>.…`, else from the name."""
    parts = fn.__module__.split(".")
    if parts[0] in {"tools", "graphs"} and len(parts) > 1:
        return parts[1]
    return fn.__name__.split("_")[0]


def _default_kind(effect: Effect) -> EffectKind:
    return EffectKind.IDEMPOTENT if effect is Effect.READ else EffectKind.OPAQUE


def _kinds(selectors: Mapping[str, Kind] | Iterable[str]) -> dict[str, Kind]:
    if isinstance(selectors, Mapping):
        return {name: Kind(kind) for name, kind in selectors.items()}
    return dict.fromkeys(selectors, Kind.WORDS)


def _input_model(fn: Callable[..., Any], hints: Mapping[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(fn).parameters.values())[1:]:
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    return create_model(f"{fn.__name__}_input", __config__=config, **fields)


def _check(tool: AnyTool) -> None:
    problems = list(_problems(tool))
    if problems:
        raise BadDeclaration(f"{tool.name}: " + "; ".join(problems))


def _problems(tool: AnyTool) -> "list[str]":
    found: list[str] = []
    if not _NAME.match(tool.name) or len(tool.name) > 48:
        found.append("the name is not <feature>_<verb>[_<object>] of at most 48 characters")
    if not tool.name.startswith(f"{tool.feature}_"):
        found.append(f"the name does not start with its feature {tool.feature!r}")
    if not tool.description:
        found.append("the docstring is missing")
    if not (isinstance(tool.output_model, type) and issubclass(tool.output_model, Result)):
        found.append("the return annotation is not a Result")
    parameters = tool.input_model.model_fields
    found += [
        f"parameter {n!r} has no description" for n, f in parameters.items() if not f.description
    ]
    found += _trust_problems(tool)
    found += _job_problems(tool)
    if tool.rest is not None and not _REST.match(tool.rest):
        found.append(f"rest {tool.rest!r} is not 'METHOD /path'")
    if len(tool.says) + len(tool.examples) < 2:
        found.append("at least two of says and examples together")
    if not re.fullmatch(r"[a-z]+:(read|write|admin)", tool.permission):
        found.append(f"permission {tool.permission!r} is not feature:read|write|admin")
    return found


def _trust_problems(tool: AnyTool) -> "list[str]":
    """Find what the policy could not rest on."""
    parameters = tool.input_model.model_fields
    found = [f"selector {s!r} is no parameter" for s in tool.selectors if s not in parameters]
    found += [f"egress {e!r} is no parameter" for e in tool.egress if e not in parameters]
    if tool.effect is not Effect.READ and parameters and not tool.selectors:
        found.append("an effect with parameters names its selectors")
    if tool.while_paused and tool.effect is Effect.DESTRUCTIVE:
        found.append("what cannot be undone stops while everything is paused")
    if tool.effect is Effect.READ and (tool.critical or tool.cost or tool.while_paused):
        found.append("critical, cost and while_paused are for effects")
    if tool.effect is Effect.READ and (tool.preview or tool.versions):
        found.append("preview and versions are for effects")
    return found


def _job_problems(tool: AnyTool) -> "list[str]":
    found: list[str] = []
    if tool.gpu is not None and not tool.background:
        found.append("what needs a GPU is a job: background=True")
    if tool.background and (sealed := secrets_of(tool)):
        found.append(f"a job keeps its arguments, so {', '.join(sealed)} cannot be a secret")
    return found


def secrets_of(tool: AnyTool) -> "list[str]":
    """Name the parameters that hold secrets; such a call cannot be kept as a job."""
    fields = tool.input_model.model_fields.items()
    return [name for name, field in fields if _holds_secret(field.annotation)]


def _holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))
