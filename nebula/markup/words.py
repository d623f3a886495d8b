"""Words that go with a number."""


def counted(number: int, thing: str) -> str:
    """Write how many there are of a thing: 1 model, 1,200 models."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
