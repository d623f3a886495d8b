from nebula.gpu.policy.board import Board
from nebula.gpu.policy.decide import decide
from nebula.gpu.policy.order import in_order
from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import (
    Card,
    Evict,
    Loaded,
    Option,
    PriorityClass,
    Running,
    Snapshot,
    Start,
    Wait,
    Waiting,
    Yield,
)
from nebula.gpu.simulate.generate import home
from nebula.gpu.simulate.world import World

GB = 2**30
CHAT, IMAGE = PriorityClass.CHAT, PriorityClass.IMAGE
BATCH, TRAINING = PriorityClass.BATCH, PriorityClass.TRAINING
PC = Card("gaming-pc/0", "gaming-pc", 12 * GB)
SERVER = Card("server/0", "server", 24 * GB)
LLAMA, SDXL, FLUX = ("ollama", "llama3.1:8b"), ("comfyui", "SDXL"), ("comfyui", "FLUX")


def option(card=PC, gb=5.5, load=6.0, run=20.0, **more) -> Option:
    vram = None if gb is None else int(gb * GB)
    return Option(card.id, vram, load, run, **more)


def wish(name="r1", key=LLAMA, klass=CHAT, options=None, created=0.0, owner="anna", **more):
    return Waiting(name, klass, owner, created, key, options or (option(),), **more)


def model(key=LLAMA, card=PC, gb=5.5, name="", **more) -> Loaded:
    vram = None if gb is None else int(gb * GB)
    more = {"reload_seconds": 9.0, "next_use": 0.5, **more}
    return Loaded(name or f"{card.id}:{key[1]}", card.id, *key, vram, **more)


def work(name="w1", key=SDXL, klass=IMAGE, gb=7.0, seconds=40.0, card=PC, **more) -> Running:
    more = {"started": 0.0, "owner": "bob", **more}
    owner, started = more.pop("owner"), more.pop("started")
    return Running(name, card.id, klass, owner, key, int(gb * GB), started, seconds, **more)


def of(kind, decisions):
    return [d for d in decisions if isinstance(d, kind)]


def test_a_loaded_model_is_used_at_once() -> None:
    (found,) = decide(Snapshot(0, (PC,), (model(),), (), (wish(),)))
    assert isinstance(found, Start)
    assert (found.loaded, found.vram) == ("gaming-pc/0:llama3.1:8b", 0)
    assert found.reason == "llama3.1:8b is loaded already on gaming-pc/0"


def test_what_fits_is_loaded_into_free_memory() -> None:
    (found,) = decide(Snapshot(0, (PC,), (), (), (wish(),)))
    assert isinstance(found, Start)
    assert (found.loaded, found.vram) == (None, int(5.5 * GB))


def test_an_idle_model_leaves_first_and_the_start_comes_in_a_later_round() -> None:
    image = wish("r1", SDXL, IMAGE, (option(gb=7.1, load=9),))
    first = decide(Snapshot(0, (PC,), (model(),), (), (image,)))
    assert [type(d) for d in first] == [Evict, Wait]
    assert first[0].reason == (
        "unloaded llama3.1:8b: SDXL needs 7.1 GB, 6.5 GB free, reload costs 9 s"
    )
    leaving = decide(Snapshot(1, (PC,), (model(state="leaving"),), (), (image,)))
    assert [type(d) for d in leaving] == [Wait]
    assert [type(d) for d in decide(Snapshot(2, (PC,), (), (), (image,)))] == [Start]


def test_the_cheapest_set_leaves_and_a_pinned_embedder_never_does() -> None:
    embedder = model(("ollama", "nomic"), gb=1.5, pinned=True, reload_seconds=0.1, next_use=0.0)
    chat = model(gb=5.0, reload_seconds=6, next_use=0.9)
    small = model(("ollama", "llama3.2:3b"), gb=5.0, reload_seconds=3, next_use=0.1)
    image = wish("r1", SDXL, IMAGE, (option(gb=5),))
    evicts = of(Evict, decide(Snapshot(0, (PC,), (embedder, chat, small), (), (image,))))
    assert [e.loaded for e in evicts] == ["gaming-pc/0:llama3.2:3b"]
    large = wish("r1", FLUX, IMAGE, (option(gb=11),))
    (found,) = decide(Snapshot(0, (PC,), (embedder, chat, small), (), (large,)))
    assert isinstance(found, Wait)
    assert "nomic is pinned" in found.reason


def test_a_wait_says_how_much_is_missing_where_and_until_when() -> None:
    busy = model(SDXL, gb=7.0, leases=1)
    doing = work(loaded=busy.id, started=-20, seconds=60)
    chat = wish(options=(option(gb=7.1),))
    (found,) = decide(Snapshot(0, (PC,), (busy,), (doing,), (chat,)))
    assert isinstance(found, Wait)
    assert found.reason == "waits for 2.1 GB on gaming-pc/0: SDXL finishes in about 41 s"
    assert found.expected_start == 41


def test_memory_of_other_programs_counts_and_unknown_amounts_are_not_zero() -> None:
    game = Card("gaming-pc/0", "gaming-pc", 12 * GB, foreign=8 * GB)
    (found,) = decide(Snapshot(0, (game,), (), (), (wish(),)))
    assert isinstance(found, Wait)
    assert "other programs hold 8.0 GB" in found.reason
    unclear = Card("gaming-pc/0", "gaming-pc", 12 * GB, foreign=None)
    assert of(Start, decide(Snapshot(0, (unclear,), (), (), (wish(),)))) == []
    (found,) = decide(Snapshot(0, (PC,), (), (), (wish(options=(option(gb=None),)),)))
    assert isinstance(found, Wait)
    assert "how much VRAM llama3.1:8b needs is not known" in found.reason
    unsized = model(SDXL, gb=None)
    assert of(Start, decide(Snapshot(0, (PC,), (unsized,), (), (wish(),)))) == []


def test_dead_and_draining_cards_get_nothing() -> None:
    for card in (
        Card("gaming-pc/0", "gaming-pc", 12 * GB, healthy=False),
        Card("gaming-pc/0", "gaming-pc", 12 * GB, draining=True),
    ):
        (found,) = decide(Snapshot(0, (card,), (model(),), (), (wish(),)))
        assert isinstance(found, Wait)


def test_a_service_that_holds_one_model_gives_up_the_other_first() -> None:
    flux = wish("r1", FLUX, IMAGE, (option(card=SERVER, gb=11, holds="one"),))
    found = decide(Snapshot(0, (SERVER,), (model(SDXL, SERVER, 7),), (), (flux,)))
    assert [type(d) for d in found] == [Evict, Wait]


def test_training_that_can_yield_is_asked_to_for_a_chat_but_not_just_after_its_start() -> None:
    training = work("t1", ("trainer", "lora"), TRAINING, 11.0, 3600, yields=True)
    fresh = decide(Snapshot(10, (PC,), (), (training,), (wish(created=10),)))
    assert of(Yield, fresh) == []
    found = decide(Snapshot(200, (PC,), (), (training,), (wish(created=200),)))
    assert [d.running for d in of(Yield, found)] == ["t1"]
    assert "goes on by itself" in found[0].reason
    training = work("t1", ("trainer", "lora"), TRAINING, 11.0, 3600)
    assert of(Yield, decide(Snapshot(200, (PC,), (), (training,), (wish(created=200),)))) == []


def test_backfill_starts_what_ends_before_the_head_can_and_nothing_else() -> None:
    doing = work("w1", ("trainer", "lora"), BATCH, 8.0, 100)
    head = wish("head", FLUX, BATCH, (option(gb=11, run=60),))
    short = wish("short", ("ollama", "small"), BATCH, (option(gb=3, load=2, run=30),), 20)
    long = wish("long", ("ollama", "other"), BATCH, (option(gb=3, load=2, run=300),), 20)
    found = decide(Snapshot(30, (PC,), (), (doing,), (head, short, long)))
    assert [s.request for s in of(Start, found)] == ["short"]


def test_ageing_lets_an_old_training_go_before_a_fresh_chat() -> None:
    old = wish("old", ("trainer", "lora"), TRAINING, (option(gb=11),), created=-8000)
    fresh = wish("fresh", LLAMA, CHAT, (option(gb=11),), created=0)
    found = decide(Snapshot(0, (PC,), (), (), (fresh, old)), Rules())
    assert [s.request for s in of(Start, found)] == ["old"]


def test_an_owner_who_used_much_goes_after_one_who_used_little() -> None:
    mine = wish("mine", LLAMA, IMAGE, (option(gb=11),), owner="anna", created=0)
    hers = wish("hers", SDXL, IMAGE, (option(gb=11),), owner="bob", created=5)
    snapshot = Snapshot(10, (PC,), (), (), (mine, hers), {"anna": 900.0})
    assert [s.request for s in of(Start, decide(snapshot))] == ["hers"]


def test_nobody_is_asked_to_yield_in_vain() -> None:
    ending = work("t1", ("trainer", "lora"), TRAINING, 7.0, 205, yields=True)
    image = model(SDXL, gb=4.0, leases=1)
    drawing = work("w1", SDXL, IMAGE, 4.0, 400, loaded=image.id)
    chat = wish(options=(option(gb=8),), created=200)
    # The training ends in 5 s by itself, and without the image there is no room anyway.
    assert of(Yield, decide(Snapshot(200, (PC,), (image,), (ending, drawing), (chat,)))) == []
    # What waits for its own service to be free is not helped by memory.
    training = work("t1", ("trainer", "lora"), TRAINING, 7.0, 3600, yields=True)
    next_image = wish("i1", SDXL, CHAT, (option(gb=4, holds="one"),), created=200)
    found = decide(Snapshot(200, (PC,), (image,), (training, drawing), (next_image,)))
    assert of(Yield, found) == []


def test_every_request_gets_one_start_or_wait_with_a_reason_and_twice_the_same() -> None:
    def asked(snapshot: Snapshot):
        found = decide(snapshot)
        assert found == decide(snapshot)
        answers = [d.request for d in found if isinstance(d, Start | Wait)]
        assert sorted(answers) == sorted(r.id for r in snapshot.waiting)
        assert all(d.reason for d in found)
        return found

    history = World(home(21, jobs=50)).run(asked)
    assert history.violations == []


def test_of_alike_requests_the_one_that_came_first_goes_first() -> None:
    alike = [
        wish(name, SDXL, IMAGE, (option(gb=7),), created) for created, name in enumerate("zyx")
    ]
    wishes = (alike[2], wish("chat", options=(option(gb=5),)), alike[1], alike[0])
    snapshot = _waiting(wishes)
    order = [w.id for w in in_order(snapshot, Board(snapshot, Rules()))]
    assert [name for name in order if name != "chat"] == ["z", "y", "x"]
    (started,) = [d.request for d in of(Start, decide(_waiting(alike)))]
    assert started == "z"


def _waiting(wishes) -> Snapshot:
    return Snapshot(9, (PC,), waiting=tuple(wishes))


def test_what_only_the_largest_card_takes_goes_there_before_small_work_that_is_more() -> None:
    large = wish("large", ("ollama", "27b"), BATCH, (option(SERVER, 17),))
    both = (option(PC, 10, run=900), option(SERVER, 10, run=900))
    small = [wish(f"small{n}", SDXL, BATCH, both) for n in range(4)]
    found = decide(Snapshot(0, (PC, SERVER), (), (), (*small, large)))
    assert [(s.request, s.card) for s in of(Start, found)] == [
        ("large", SERVER.id),
        ("small0", PC.id),
    ]
    # A card that does not answer is none that could take it: then the larger heap goes first.
    gone = Card(PC.id, PC.node, 12 * GB, healthy=False)
    (started,) = of(Start, decide(Snapshot(0, (gone, SERVER), (), (), (*small, large)))[:1])
    assert started.request == "small0"


def test_what_a_person_waits_for_goes_shortest_first_and_patient_work_longest_first() -> None:
    def first(klass: PriorityClass) -> str:
        long = wish("long", LLAMA, klass, (option(gb=11, run=90),), created=0)
        short = wish("short", SDXL, klass, (option(gb=11, run=10),), created=30)
        snapshot = Snapshot(40, (PC,), (), (), (long, short))
        return in_order(snapshot, Board(snapshot, Rules()))[0].id

    assert [first(klass) for klass in PriorityClass] == ["long", "long", "short", "short"]


def test_a_chat_is_put_off_little_by_what_its_owner_used_and_a_batch_much() -> None:
    def first(klass: PriorityClass) -> str:
        busy = wish("busy", LLAMA, klass, (option(gb=11),), owner="anna", created=0)
        idle = wish("idle", SDXL, klass, (option(gb=11),), owner="bob", created=200)
        snapshot = Snapshot(210, (PC,), (), (), (busy, idle), {"anna": 5000.0})
        return in_order(snapshot, Board(snapshot, Rules()))[0].id

    assert [first(klass) for klass in PriorityClass] == ["idle", "idle", "busy", "busy"]
