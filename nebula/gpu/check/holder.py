"""A process that holds memory of a card as it is told, line by line: python -m nebula.gpu.check.holder.

Each line is a JSON object: {"hold": bytes}, {"free": true} or {"listen": port}. Each answer is one,
too: what the card has free, or {"error": …}. It ends with its input, so never outlives who asks.
"""

import json
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nebula.gpu.check.cuda import CudaCard, CudaError, library


def main(load: Callable[[], Any] = library) -> int:
    """Obey until the input ends."""
    try:
        card = CudaCard(load)
    except CudaError as error:
        _say({"error": str(error)})
        return 1
    places: list[int] = []
    _say(_memory(card))
    for line in sys.stdin:
        try:
            _obey(json.loads(line), card, places)
            _say(_memory(card))
        except (CudaError, OSError) as error:
            _say({"error": str(error)})
    card.close()
    return 0


def _obey(told: dict[str, int], card: CudaCard, places: list[int]) -> None:
    if size := told.get("hold"):
        places.append(card.hold(size))
    if told.get("free"):
        while places:
            card.free(places.pop())
    if port := told.get("listen"):
        listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=_hang_up, args=(listening,), daemon=True).start()


def _hang_up(listening: socket.socket) -> None:
    """Close every connection at once: only who listens matters."""
    with suppress(OSError):
        while True:
            listening.accept()[0].close()


def _memory(card: CudaCard) -> dict[str, int]:
    free, total = card.memory()
    return {"free": free, "total": total}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
