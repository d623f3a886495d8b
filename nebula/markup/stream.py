"""Text that arrives piece by piece, shown as it comes, with nothing in it that could load."""

from nebula.markup.text import prose

_WAITS = "!\u200c\u200d"
"""Signs whose meaning the next one decides."""


class Stream:
    """One text on its way; `whole` is what came so far, untouched."""

    def __init__(self) -> None:
        """Begin empty."""
        self.whole = ""
        self._shown = 0

    def take(self, piece: str) -> str:
        """Take a piece and return what can be shown now; a sign that may begin a picture waits.

        Pictures are broken in code as well: what is code is known for sure only at the end, when
        the whole text takes the place of what was streamed.
        """
        self.whole += piece
        end = len(self.whole)
        while end > self._shown and self.whole[end - 1] in _WAITS:
            end -= 1
        start = max(0, self._shown - 1)
        shown = prose(self.whole[start:end], self._shown - start)
        self._shown = end
        return shown.replace("![", "!\\[")
