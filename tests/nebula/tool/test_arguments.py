import pytest

from nebula.errors import InvalidInput
from nebula.tool.arguments import parse


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[1]", "must be a JSON object"),
        (b'{"a": 1, "a": 2}', "a key appears twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\\ud800"}', "not Unicode"),
        (b"\xff\xfe", "not"),
        (b"{", "not valid JSON"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(body: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse(body)


def test_an_empty_body_means_no_arguments() -> None:
    assert parse(b" \n") == {}
