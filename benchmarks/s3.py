"""S3: what runs that nobody approved, over ways to change, swap, replay or forge an approval.

Run: python -m benchmarks.s3

Every vector goes through the product itself: its executor, database, REST door, graph and
checkpoints, over a vault whose effects are counted. A wrong run is an effect that no person approved
as it happened; a missing one was approved and did not happen. LangChain's human-in-the-loop
middleware, measured elsewhere: four concurrent resumes of one approval ran the tool four times.
"""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.approvals.play import CORPUS, Played, play
from benchmarks.approvals.world import open_world
from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import migrate
from nebula.log import configure_logging
from nebula.settings import Settings


async def run() -> list[Played]:
    """Play the whole corpus over a fresh database."""
    with tempfile.TemporaryDirectory(prefix="nebula-s3-") as folder:
        home = Path(folder)
        with EmbeddedPostgres(home) as pg:
            await migrate(pg.url)
            settings = Settings(
                _env_file=None,
                home=home,
                database_url=pg.url,
                ollama_host="http://127.0.0.1:9",
                service_map=home / "service-map.yml",
                warm_start=False,
                workers=0,
            )
            async with open_world(settings) as world:
                return [await play(vector, world) for vector in CORPUS]


def main() -> None:
    """Print what each vector made run."""
    configure_logging(level="CRITICAL")
    played = asyncio.run(run())
    rows = [
        [
            each.vector.name,
            ", ".join(each.vector.may_run) or "nothing",
            ", ".join(each.wrong) or "-",
            ", ".join(each.missing) or "-",
        ]
        for each in played
    ]
    print(show(["vector", "may run", "ran wrongly", "did not run"], rows))
    wrong = sum(len(each.wrong) for each in played)
    missing = sum(len(each.missing) for each in played)
    print(f"\n{len(played)} vectors: {wrong} wrong runs, {missing} missing. Goal: 0 wrong runs.")


if __name__ == "__main__":
    main()
