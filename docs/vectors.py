"""Write the vectors that come with the program, or check that they cover its texts.

python -m docs.vectors            embeds what is missing and writes
python -m docs.vectors --check    exits with 1 when a text has no vector or a vector no text
"""

import asyncio
import sys

from knowledge.chunk import chunk
from knowledge.load.read import read
from knowledge.manual import FOLDER, LIMITS
from nebula.llm.embedding import Embedder
from nebula.llm.shipped import FILE, key_of, shipped, write
from nebula.tool.phrases import phrases_of
from nebula.tool.registry import Registry


def texts() -> list[str]:
    """Return every text whose vector is known beforehand, sorted, each once."""
    found = {text for tool in Registry.discover("tools", "graphs") for text in phrases_of(tool)}
    for page in FOLDER.glob("*.md"):
        loaded = read(page.read_bytes(), "markdown", page.name, LIMITS)
        found.update(piece.to_embed(loaded.title) for piece in chunk(loaded.sections))
    return sorted(found)


def main() -> int:
    """Write the file, or with `--check` say whether it is current."""
    wanted = texts()
    current = {key_of(text) for text in wanted} == shipped(Embedder.name).keys()
    if "--check" in sys.argv:
        if not current:
            print(f"{FILE.name} is out of date: run `make docs`")  # noqa: T201
        return 0 if current else 1
    if not current:
        write(Embedder.name, wanted, asyncio.run(Embedder().embed(wanted)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
