"""An open App with stored secrets and tools that take them."""

from collections.abc import AsyncIterator

import pytest

from nebula.app import App, open_app
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.nebula.secrets import samples
from tools.jobs.tools import jobs_retry, jobs_submit

VALUE = "v4lue-of-the-secret"


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    samples.GOT.clear()
    async with open_app(
        settings, registry=Registry([*samples.ALL, jobs_submit, jobs_retry])
    ) as app:
        await app.parts.secrets.put("token", VALUE, by="ada")
        yield app
