"""What `jarvis up` serves, without the terminal around it."""

import uvicorn

from nebula.settings import Settings
from ui.server import create


def main() -> None:
    settings = Settings()
    uvicorn.run(create(settings), host=settings.host, port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
