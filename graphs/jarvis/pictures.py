"""Pictures beside a message: a model that sees says what they show, and the turn reads that.

So whoever thinks in the turn need not see, nothing but words stays in the conversation, and what
stands on a picture is text from outside like any other.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from graphs.context import Meter
from graphs.jarvis.attachments import Attachment
from graphs.wording import delimited
from nebula.errors import UpstreamUnavailable
from nebula.llm.provider import COMMAND
from nebula.secrets.redact import hide

_PROMPT = Path(__file__).parent / "prompts" / "look.md"


async def seen(
    model: BaseChatModel, said: str, pictures: Sequence[Attachment], meter: Meter
) -> str:
    """Return the message with what a model saw on its pictures below it.

    Raises:
        UpstreamUnavailable: when no model that sees answers.
    """
    shown = [{"type": "image_url", "image_url": {"url": _address(each)}} for each in pictures]
    meter.model_calls += 1
    answer = await model.ainvoke(
        [
            SystemMessage(_PROMPT.read_text(encoding="utf-8")),
            HumanMessage([{"type": "text", "text": said}, *shown]),
        ]
    )
    if answer.response_metadata.get("provider", COMMAND) == COMMAND:
        raise UpstreamUnavailable(
            "No model that sees pictures answers",
            hint="Describe the picture in words, or try again; jarvis_status shows the models.",
        )
    if usage := answer.usage_metadata:
        meter.prompt_tokens += usage["input_tokens"]
        meter.completion_tokens += usage["output_tokens"]
    names = ", ".join(each.shown_name for each in pictures)
    return f"{said}\n\n{delimited(hide(answer.text.strip()), f'{names}, as a model saw it')}"


def _address(picture: Attachment) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"
