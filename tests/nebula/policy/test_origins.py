"""Where a value comes from, with everything that must not pass for a person's word."""

import pytest

from nebula.policy.names import Name, Names
from nebula.policy.origins import origin_of, same
from nebula.policy.selectors import Kind, Origin
from nebula.policy.words import LONGEST, clauses, said

W, R, U = Origin.WORDS, Origin.REGISTRY, Origin.UNKNOWN
NAMES = Names.of(
    [
        Name(Kind.SERVICE, "comfyui", "comfyui"),
        Name(Kind.SERVICE, "Stable Diffusion", "comfyui"),
        Name(Kind.SERVICE, "attic-ollama", "attic-ollama", own=False),
        Name(Kind.NODE, "gaming-pc", "gaming-pc", own=False),
        Name(Kind.NODE, "tower", "tower"),
        Name(Kind.SERVICE, "images", "comfyui"),
        Name(Kind.SERVICE, "images", "attic-comfyui", own=False),
    ]
)


def origin(typed: str, value: object, kind: Kind, parameter: str = "") -> Origin:
    return origin_of(value, kind, said((typed,)), NAMES, parameter=parameter)


@pytest.mark.parametrize(
    ("typed", "value", "wanted"),
    [
        ("tell ann about it", "ann", W),
        ("tell Ann, please", "ann", W),
        ("tell annabel about it", "ann", U),
        ("tell ann about it", "annabel", U),
        ("tell ann lee about it", "Ann Lee", W),
        ("tell lee ann about it", "Ann Lee", U),
        ("tell ann. Lee is away", "ann lee", U),
        ("tell \u0430nn about it", "ann", U),  # the first letter is Cyrillic
        ("tell ann about it", "\u0430nn", U),
        ("tell ann about it", "an\u200bn", U),
        ("tell an\u200bn about it", "ann", U),
        ("tell \uff41\uff4e\uff4e about it", "ann", U),  # full width
        ("write to ann@example.com", "ann@example.com", W),
        ("write to joann@example.com", "ann@example.com", U),
        ("write to ann@example.com.evil.net", "ann@example.com", U),
        ("write to ann", "ann ", W),
        ("write to ann", "", U),
        ("write to ann", None, U),
        ("r\u0065\u0301sum\u00e9", "résumé", W),
        ('who is "ann"?', "ann", U),
        ("> please tell ann\nwhat is that?", "ann", U),
        ("```\ntell ann\n```\nwhat is that?", "ann", U),
        ("<outside source='x'>tell ann</outside>", "ann", U),
        ("do not tell ann", "ann", U),
        ("don't tell bob and ann", "ann", U),
        ("don't tell bob, but tell ann", "ann", W),
        ("tell ann and not bob", "bob", U),
        ("tell ann and not bob", "ann", W),
        ("tell everybody except ann", "ann", U),
        ("ann " + "x " * LONGEST, "ann", U),
    ],
)
def test_words_vouch_for_whole_words(typed: str, value: object, wanted: Origin) -> None:
    assert origin(typed, value, Kind.WORDS) is wanted


@pytest.mark.parametrize(
    ("typed", "value", "wanted"),
    [
        ("read https://good.com/a", "https://good.com/a", W),
        ("read https://good.com/a.", "https://good.com/a", W),
        ("read (https://good.com/a)", "https://good.com/a", W),
        ("read https://good.com", "https://good.com/", W),
        ("read https://GOOD.com:443/a", "https://good.com/a", W),
        ("read good.com/a", "https://good.com/a", W),
        ("read good.com", "http://good.com", W),
        ("read https://good.com/a", "http://good.com/a", U),
        ("read https://good.com/a", "https://good.com/a/b", U),
        ("read https://good.com/a/b", "https://good.com/a", U),
        ("read https://good.com/a", "https://good.com/A", U),
        ("read https://good.com/a", "https://good.com/a?secret=1", U),
        ("read https://good.com/a?x=1", "https://good.com/a?x=2", U),
        ("read https://good.com/a", "https://good.com:8443/a", U),
        ("read good.com", "https://good.com.evil.com", U),
        ("read good.com.evil.com", "https://good.com", U),
        ("read good.com", "https://evil.com/?x=good.com", U),
        ("read https://evil.com/?x=good.com", "https://good.com", U),
        ("read good.com", "https://good.com@evil.com", U),
        ("read https://good.com@evil.com/", "https://good.com/", U),
        ("read https://good.com@evil.com/", "https://evil.com/", U),
        ("read good.com", "https://g\u043e\u043ed.com", U),  # Cyrillic
        ("read g\u043e\u043ed.com", "https://good.com", U),
        ("read https://m\u00fcnchen.de", "https://xn--mnchen-3ya.de", W),
        ("read https://good.com/a b", "https://good.com/a%20b", U),
        ("read https://good.com/%61", "https://good.com/a", U),
        ("read https://good.com/x", "https://good.com/y/../x", W),  # that is what is asked for
        ("read https://good.com/x", "https:\\\\good.com/x", U),
        ("read https://1.2.3.4/", "https://16909060/", U),
        ("do not read https://evil.com", "https://evil.com", U),
        ('he wrote "https://evil.com"', "https://evil.com", U),
        ("read x", "javascript:alert(1)", U),
    ],
)
def test_an_address_is_the_one_that_was_typed_or_none(
    typed: str, value: str, wanted: Origin
) -> None:
    assert origin(typed, value, Kind.URL) is wanted
    assert origin(typed, value, Kind.PLACE) is wanted


@pytest.mark.parametrize(
    ("typed", "value", "wanted"),
    [
        ("add notes/a.md", "notes/a.md", W),
        ("add ./notes//a.md", "notes/a.md", W),
        ("add /srv/notes", "/srv/notes", W),
        ("add srv/notes", "/srv/notes", U),
        ("add notes", "notes/secret.md", U),
        ("add notes/secret.md", "notes", U),
        ("add notes/../secret", "notes/../secret", U),
        ("add notes/../secret", "secret", U),
        ("add notes", "notes/%2e%2e/secret", U),
        ("add notes/%2e%2e/secret", "notes/%2e%2e/secret", U),
        ("add My Notes/a.md", "My Notes/a.md", W),
        ("add Notes", "notes", U),
        ("add a.md", "a.md\u202e", U),
        ("add C:\\Users\\me", "C:/Users/me", W),
    ],
)
def test_a_path_is_the_one_that_was_typed_or_none(typed: str, value: str, wanted: Origin) -> None:
    assert origin(typed, value, Kind.PATH) is wanted


@pytest.mark.parametrize(
    ("typed", "value", "wanted"),
    [
        ("take 1", 1, W),
        ("take 1", 1.0, W),
        ("take 1.0", 1.0, W),
        ("take 1.0", 1, U),
        ("take 1", "1", U),
        ("take 1", True, U),
        ("take 10", 1, U),
        ("take 01", 1, U),
        ("take -1", -1, W),
        ("take -1", 1, U),
        ("take \uff11", 1, U),  # full width
        ("take \u0661", 1, U),  # Arabic-Indic
        ("take 1e3", 1000, U),
        ("take one", 1, U),
    ],
)
def test_a_number_is_a_number(typed: str, value: object, wanted: Origin) -> None:
    assert origin(typed, value, Kind.NUMBER) is wanted


@pytest.mark.parametrize(
    ("typed", "value", "wanted"),
    [
        ("force the switch", True, W),
        ("switch, by force", True, W),
        ("do not force the switch", True, U),
        ("reinforce the switch", True, U),
        ("force the switch", False, U),
    ],
)
def test_a_flag_is_vouched_for_by_its_name(typed: str, value: object, wanted: Origin) -> None:
    assert origin(typed, value, Kind.CHOICE, "force") is wanted


@pytest.mark.parametrize(
    ("typed", "value", "kind", "wanted"),
    [
        ("switch to stable diffusion", "comfyui", Kind.SERVICE, W),
        ("switch to Stable-Diffusion", "ComfyUI", Kind.SERVICE, W),
        ("switch over", "comfyui", Kind.SERVICE, R),
        ("switch over", "stable_diffusion", Kind.SERVICE, R),
        ("switch over", "comfyui-evil", Kind.SERVICE, U),
        ("switch to comfyui.evil.com", "attic-ollama", Kind.SERVICE, U),
        ("switch over", "attic-ollama", Kind.SERVICE, U),
        ("use attic ollama", "attic-ollama", Kind.SERVICE, W),
        ("use the-attic-ollama-box", "attic-ollama", Kind.SERVICE, U),
        ("switch over", "images", Kind.SERVICE, U),  # a machine that joined claims it too
        ("show images", "images", Kind.SERVICE, W),
        ("on the gaming pc", "gaming-pc", Kind.NODE, W),
        ("go", "gaming-pc", Kind.NODE, U),
        ("go", "tower", Kind.NODE, R),
        ("go", "tower", Kind.SERVICE, U),
        ("pull llama3.2:3b", "llama3.2:3b", Kind.MODEL, W),
        ("pull llama3.2:3b", "llama3.2", Kind.MODEL, U),
        ("cancel job_0a1b", "job_0a1b", Kind.ID, W),
        ("cancel job_0a1b", "job_0a", Kind.ID, U),
        ("cancel JOB_0A1B", "job_0a1b", Kind.ID, U),
        ("tell ops and discord", ["ops", "discord"], Kind.CHANNEL, W),
        ("tell ops", ["ops", "evil"], Kind.CHANNEL, U),
        ("tell ops", [], Kind.CHANNEL, U),
        ("tell ops", {"ops": 1}, Kind.WORDS, U),
    ],
)
def test_a_name_is_known_by_what_it_stands_for(
    typed: str, value: object, kind: Kind, wanted: Origin
) -> None:
    assert origin(typed, value, kind) is wanted


@pytest.mark.parametrize(
    ("kind", "one", "other", "equal"),
    [
        (Kind.NUMBER, 1, 1, True),
        (Kind.NUMBER, 1, 1.0, False),
        (Kind.NUMBER, 1, True, False),
        (Kind.NUMBER, 1, "1", False),
        (Kind.SERVICE, "Stable Diffusion", "comfyui", True),
        (Kind.SERVICE, "comfyui", "attic-ollama", False),
        (Kind.SERVICE, None, "comfyui", False),
        (Kind.WORDS, "My dog is Rex.", "my dog is rex", True),
        (Kind.WORDS, "my dog is not Rex", "my dog is Rex", False),
        (Kind.URL, "https://a.com", "https://a.com/", True),
        (Kind.URL, "https://a.com", "https://a.com/x", False),
        (Kind.PATH, "./a//b", "a/b", True),
        (Kind.CHANNEL, ["a", "b"], ["b", "a"], True),
        (Kind.CHANNEL, ["a"], "a", False),
        (Kind.CHANNEL, ["a"], ["a", "b"], False),
    ],
)
def test_values_are_the_same_when_they_are_the_same_thing(
    kind: Kind, one: object, other: object, equal: bool
) -> None:
    assert same(kind, one, other, NAMES) is equal


def test_a_negation_reaches_to_the_end_of_its_sentence_or_to_a_turn() -> None:
    found = clauses("Do not stop a, b and c; start d. Read e but not f, then start g")
    assert [(c.text, c.negated) for c in found] == [
        ("Do not stop a", True),
        ("b", True),
        ("c", True),
        ("start d", False),
        ("Read e", False),
        ("not f", True),
        ("start g", False),
    ]


def test_a_quote_is_never_cut() -> None:
    found = clauses('tell ops "a, b and then c" and start d')
    assert [c.text for c in found] == ['tell ops "a, b and then c"', "start d"]
