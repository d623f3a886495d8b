"""The process that parses one document: request line and bytes in, JSON out.

Run as `python -m knowledge.load.reader`; only `knowledge.load.isolated` starts it.
"""

import json
import logging
import sys
import warnings

from knowledge.load.read import Limits, read
from nebula.errors import NebulaError

_MEMORY = 2 * 1024**3
_SECONDS = 300


def _limit_itself() -> None:
    """Bound memory and processor time, where the system can."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def main() -> None:
    """Read one request from stdin and answer it on stdout."""
    _limit_itself()
    warnings.simplefilter("ignore")
    logging.disable()
    head, _, body = sys.stdin.buffer.read().partition(b"\n")
    request = json.loads(head)
    try:
        document = read(body, request["kind"], request["source"], Limits(**request["limits"]))
    except NebulaError as error:
        answer = json.dumps({"error": error.payload()})
    else:
        answer = json.dumps({"document": document.model_dump()})
    sys.stdout.write(answer)


if __name__ == "__main__":
    main()
