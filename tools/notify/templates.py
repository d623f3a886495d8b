"""Turns a title, a message and fields into text, with templates in a Jinja sandbox.

The words of a message are values and never template text: nothing in them is evaluated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nebula.errors import InvalidInput, NotFound
from tools.notify.schemas import Level, Message, TemplateEntry

_LARGEST = 20_000

_BODY = """{{ message }}
{% for name, value in fields.items() %}
- {{ name }}: {{ value }}
{% endfor %}"""

FOLDER = Path("templates") / "notify"
"""Below the data folder: `NAME.j2`, the first line is the title, the rest is the body."""


@dataclass(frozen=True)
class _Template:
    title: str
    body: str
    level: Level
    description: str
    custom: bool = False


_BUILT_IN = {
    "alert": _Template(
        "Alert: {{ title or 'something needs you' }}", _BODY, Level.ALERT, "Something is broken."
    ),
    "warning": _Template(
        "Warning: {{ title or 'have a look' }}", _BODY, Level.WARNING, "Something may break."
    ),
    "success": _Template("Done: {{ title or 'it worked' }}", _BODY, Level.SUCCESS, "It worked."),
    "info": _Template(
        "{{ title or 'Message from Jarvis' }}", _BODY, Level.INFO, "For information."
    ),
}


def entries(home: Path) -> list[TemplateEntry]:
    """List the built-in templates and those of the data folder, which replace them by name."""
    return [
        TemplateEntry(name=name, description=each.description, custom=each.custom)
        for name, each in sorted(_all(home).items())
    ]


def compose(home: Path, name: str, title: str, message: str, fields: Mapping[str, str]) -> Message:
    """Fill a template.

    Raises:
        NotFound: when there is no such template.
        InvalidInput: when the template is broken or reaches for what the sandbox forbids.
    """
    known = _all(home)
    if name not in known:
        raise NotFound(
            f"There is no template {name!r}", hint=f"Templates: {', '.join(sorted(known))}."
        )
    template = known[name]

    def filled(source: str, fields: Mapping[str, str]) -> str:
        values = {"title": title, "message": message, "fields": dict(fields)}
        return _render(name, source, {**values, "level": template.level.value})

    return Message(
        title=" ".join(filled(template.title, fields).split())[:250],
        body=filled(template.body, {}),
        text=filled(template.body, fields),
        level=template.level,
        fields=dict(fields),
    )


def _render(name: str, source: str, values: Mapping[str, object]) -> str:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # A message needs neither counting loops nor filler text.
    environment.globals.clear()
    try:
        text = environment.from_string(source).render(values).strip()
    except SecurityError as error:
        raise InvalidInput(f"The template {name!r} reaches for what is forbidden to it") from error
    except TemplateError as error:
        raise InvalidInput(f"The template {name!r} is broken: {error}") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InvalidInput(f"The template {name!r} cannot be filled: {error}") from error
    if len(text) > _LARGEST:
        raise InvalidInput(f"The template {name!r} makes more than {_LARGEST} characters")
    return text


def _all(home: Path) -> dict[str, _Template]:
    own = {path.stem: _read(path) for path in sorted((home / FOLDER).glob("*.j2"))}
    return {**_BUILT_IN, **own}


def _read(path: Path) -> _Template:
    title, _, body = path.read_text(encoding="utf-8")[:_LARGEST].partition("\n")
    level = _BUILT_IN[path.stem].level if path.stem in _BUILT_IN else Level.INFO
    return _Template(title, body, level, f"From {FOLDER / path.name}.", custom=True)
