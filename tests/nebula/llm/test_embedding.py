"""The embedder as the rest of the program uses it."""

import asyncio

import numpy as np

from nebula.llm.embedding import Embedder


async def test_many_texts_keep_their_order_across_batches() -> None:
    embedder = Embedder()
    texts = [f"sentence number {index} about topic {index % 7}" for index in range(130)]
    together = await embedder.embed(texts)
    assert together.shape == (130, embedder.dimension)
    assert together.dtype == np.float32
    for index in (0, 63, 64, 129):
        alone = (await embedder.embed([texts[index]]))[0]
        np.testing.assert_allclose(together[index], alone, atol=1e-6)


async def test_a_caller_may_change_its_vectors_without_spoiling_later_answers() -> None:
    embedder = Embedder()
    first = await embedder.embed(["check the gpu"])
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(await embedder.embed(["check the gpu"]), kept)


async def test_the_event_loop_keeps_running_while_vectors_are_computed() -> None:
    embedder = Embedder()
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    heart = asyncio.create_task(beat())
    await embedder.embed(["a sentence"] * 80)
    heart.cancel()
    assert beats > 10


async def test_no_texts_give_an_empty_array() -> None:
    assert (await Embedder().embed([])).shape == (0, 384)
