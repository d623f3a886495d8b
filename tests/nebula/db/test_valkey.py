import redis
import redis.asyncio

from nebula.db.valkey import EmbeddedValkey


async def test_it_answers_on_its_private_socket_and_leaves_nothing() -> None:
    server = EmbeddedValkey()
    url = server.start()
    client = redis.asyncio.from_url(url)
    await client.set("k", "v")
    assert await client.get("k") == b"v"
    await client.aclose()
    server.stop()
    with redis.from_url(url) as gone:
        try:
            gone.ping()
        except redis.ConnectionError:
            return
    raise AssertionError("it still answers")
