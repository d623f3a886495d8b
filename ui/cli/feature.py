"""`jarvis new feature NAME`: a feature folder and its test, which pass at once."""

import keyword
import re
from pathlib import Path

from nebula.errors import Conflict, InvalidInput
from nebula.packages import checkout

_NAME = re.compile(r"^[a-z][a-z0-9]{1,20}$")

_INIT = '"""{Name}: say in one line what this feature does."""\n'

_TOOLS = '''"""The tools of {name}."""

from typing import Annotated

from pydantic import Field

from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from nebula.tool.result import Result


class {Name}Greeting(Result):
    """What the example answers."""

    text: str


@tool(
    effect=Effect.READ,
    rest="GET /{name}",
    says=["greet {{who}} from {name}"],
    examples=["say hello from {name} to Ada"],
)
async def {name}_greet(
    ctx: Context,
    who: Annotated[str, Field(description="Who is greeted", min_length=1, max_length=100)],
) -> {Name}Greeting:
    """Greet somebody; replace this with what {name} really does."""
    return {Name}Greeting(text=f"Hello {{who}}, from {{ctx.principal.name}}")
'''

_TEST = """from typing import Any

import pytest

from nebula.app import App
from nebula.auth.principal import Principal
from nebula.errors import InvalidInput


async def test_{name}_greet_greets_by_name(
    app: App,
    viewer: Principal,
    caller: Any,
) -> None:
    result = await app.executor.execute(
        "{name}_greet",
        {{"who": "Ada"}},
        caller=caller(viewer),
        call_id="c1",
    )
    assert result.model_dump() == {{"text": f"Hello Ada, from {{viewer.name}}"}}


async def test_{name}_greet_says_what_is_missing(
    app: App,
    viewer: Principal,
    caller: Any,
) -> None:
    with pytest.raises(InvalidInput, match="who"):
        await app.executor.execute(
            "{name}_greet",
            {{}},
            caller=caller(viewer),
            call_id="c1",
        )
"""


def new_feature(name: str, root: Path | None = None) -> list[Path]:
    """Write the folder and its test, and return the files.

    Raises:
        InvalidInput: when the name is no good as a folder and a prefix of tools.
        Conflict: when something of that name is there.
    """
    root = root or checkout()
    if not _NAME.match(name) or keyword.iskeyword(name):
        raise InvalidInput(
            f"{name!r} is not a feature's name", hint="One lower-case word, such as weather."
        )
    texts = {
        root / "tools" / name / "__init__.py": _INIT,
        root / "tools" / name / "tools.py": _TOOLS,
        root / "tests" / "tools" / f"test_{name}.py": _TEST,
    }
    for path in texts:
        if path.exists() or (path.name == "__init__.py" and path.parent.exists()):
            raise Conflict(f"{path.relative_to(root)} exists already", hint="Pick another name.")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, Name=name.capitalize()), encoding="utf-8")
    return list(texts)
