"""Markdown of unknown origin, made harmless."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.corpora import CANARY, Markup, markup
from nebula.markup.neutral import neutral
from nebula.markup.stream import Stream
from tests.nebula.markup.oracle import loads

FORMS = markup()
BOTH = pytest.mark.parametrize("directives", [True, False])

ORDINARY = """\
# Ordinary answer

Two **cards**, one *idle*; ~~three~~. See [the manual](https://docs.example.org/a_b?c=d#e),
<https://example.org/x>, <ann@example.org>, https://example.org/plain/path and [mail](mailto:a@b.org).

1. first (5 < 6, `a < b`, a && b)
2. second
   - nested with `code`
   - [ ] open, [x] done

> A quote: “fine” — it's 10:30, 100 % of $5 or $x^2$.

| card | free | note |
| :--- | ---: | --- |
| RTX 3060 | 5.5 GB | `--flag` |
| GTX 1070 | 8 GB | 👍 |

```rust
let v = vec![1, 2]; // <T>
println!("{}", a::b(v[0](1)));
```

~~~html
<img src="http://example.org/a.png" onerror="x()">
![picture](http://example.org/a.png)
~~~

    indented ![code](http://example.org/b.png) <b>

Inline `![alt](http://example.org/c.png)`, `<div>`, `gpu:write`, ``a ` b``.

Flags 🇩🇪, family 👨‍👩‍👧‍👦, heart ❤️, skin 👍🏽, key 1️⃣. می‌خواهم, ক্‌ষ, 日本語, naïve café, 葛󠄀.

![ours](/api/artefacts/ab12/picture.png)

[reference][1] and [another].

[1]: https://example.org/one "One"
[another]: <https://example.org/two>

---
The end\\
really.
"""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@BOTH
def test_no_form_makes_a_page_load_anything(form: Markup, directives: bool) -> None:
    shown = neutral(form.text, directives=directives)
    assert loads(shown) == []
    assert neutral(shown, directives=directives) == shown


def test_the_corpus_has_no_twins_and_most_of_it_bites_when_nothing_is_done() -> None:
    assert len({form.text for form in FORMS}) == len({form.name for form in FORMS}) == len(FORMS)
    assert len(FORMS) >= 60
    assert sum(bool(loads(form.text)) for form in FORMS) >= 60


@BOTH
def test_all_forms_in_one_text_are_harmless_together(directives: bool) -> None:
    whole = neutral("\n\n".join(form.text for form in FORMS), directives=directives)
    assert loads(whole) == []


@BOTH
def test_ordinary_markdown_comes_out_as_it_went_in(directives: bool) -> None:
    assert neutral(ORDINARY, directives=directives) == ORDINARY


def test_a_picture_of_another_host_becomes_its_address() -> None:
    assert neutral("![a cat](https://evil.test/x?secret)") == (
        "(image not loaded: a cat <https://evil.test/x?secret>)"
    )


@pytest.mark.parametrize(
    "address",
    [
        "/api/auth/link/secret",
        "/login?next=//evil.test",
        "/public/../api/auth/link/x",
        "/public//evil.test/x",
        "/api/artefacts/x?to=//evil.test",
        "//evil.test/x",
        "\\\\evil.test\\x",
        "x.png",
    ],
)
def test_a_picture_of_ours_is_a_stored_file_and_no_other_page(address: str) -> None:
    assert loads(neutral(f"![x]({address})")) == []


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java&#9;script:alert(1))",
        "[x](&#x6A;avascript:alert(1))",
        "[x](data:text/html,y)",
        "[x](vbscript:y)",
        "[x](file:///etc/passwd)",
        "[x](//evil.test)",
        "[x](https://bank.test@evil.test)",
        "[https://bank.test](https://evil.test)",
        "[www.bank.test](https://evil.test)",
        "[r]\n\n[r]: javascript:alert(1)",
    ],
)
def test_a_link_that_runs_or_lies_is_shown_as_text(text: str) -> None:
    assert "<a " not in _rendered(neutral(text))


@pytest.mark.parametrize(
    "text",
    [
        "[x](https://example.org)",
        "[https://example.org/a](https://example.org/b)",
        "[www.example.org](https://example.org)",
        "[node.js](https://nodejs.org)",
        "[x](/thread/abc)",
        "[x](#top)",
        "[x](mailto:ann@example.org)",
        "[x][r]\n\n[r]: https://example.org",
    ],
)
def test_an_honest_link_stays(text: str) -> None:
    assert neutral(text) == text
    assert "<a " in _rendered(text)


def test_text_that_chainlit_takes_for_a_command_is_shown() -> None:
    assert neutral("needs gpu:write, at 10:30", directives=True) == r"needs gpu\:write, at 10:30"
    assert neutral("needs gpu:write") == "needs gpu:write"


def test_a_text_with_too_many_places_is_broken_everywhere() -> None:
    text = "`![a](http://evil.test)`\n" * 9000
    shown = neutral(text)
    assert "![" not in shown
    assert neutral(shown) == shown


PIECES = [
    f"![a](http://{CANARY}/x)",
    "![a][r]",
    f"[r]: http://{CANARY}/y",
    *(
        "`",
        "``",
        "```\n",
        "~~~\n",
        "\n",
        "\n\n",
        "    ",
        "> ",
        "- ",
        "| ",
        "|--|--|\n",
        "\\",
        "!",
        "[",
    ),
    *(
        "]",
        "(",
        ")",
        "<",
        ">",
        "<!--",
        "-->",
        "<b ",
        "http://a.b/",
        "www.a.b/",
        ':x{a="',
        "}",
        "[^1]: ",
    ),
    *("](", "]: ", "](javascript:x", '"', "'", "*", "_", " ", "x", "&#33;", "\t", "# ", "$"),
]


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_no_mixture_of_markup_loads_anything(text: str) -> None:
    for directives in (True, False):
        shown = neutral(text, directives=directives)
        assert loads(shown) == []
        assert neutral(shown, directives=directives) == shown


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=15).map("".join),
    st.lists(st.integers(1, 7), min_size=1, max_size=60),
)
def test_at_no_moment_of_a_stream_is_there_a_picture(text: str, lengths: list[int]) -> None:
    stream, shown, at = Stream(), "", 0
    for length in [*lengths, len(text)]:
        shown += stream.take(text[at : at + length])
        at += length
        assert "![" not in shown
    assert stream.whole == text


def test_a_stream_shows_emoji_whole_and_hidden_signs() -> None:
    stream = Stream()
    family = "👨\u200d👩\u200d👧!"
    shown = [stream.take(char) for char in family + "\u202ex"]
    assert "".join(shown) == family + "\\u202ex"


def _rendered(text: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).render(text)
