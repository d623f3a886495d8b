"""What `jarvis up` serves, without the terminal around it and with a tool of the tests."""

import uvicorn

from api.server import create_server
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.ui.samples import ALL
from ui.server import mount_chat


def main() -> None:
    settings = Settings()
    found = Registry.discover("tools", "graphs")
    server = create_server(settings, registry=Registry([*found, *ALL], found.about))
    mount_chat(server, settings)
    uvicorn.run(server, host=settings.host, port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
