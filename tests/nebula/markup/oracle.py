"""What a browser would load from Markdown, by a parser and renderer that we did not touch."""

from html.parser import HTMLParser

from markdown_it import MarkdownIt

_PLAIN = {
    *("p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}


class _Loading(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a":
            if set(given) - {"href", "title"}:
                self.found.append(f"<a {sorted(given)}>")
        elif tag == "img":
            if not str(given.get("src")).startswith(("/api/artefacts/", "/public/")):
                self.found.append(f"<img src={given.get('src')}>")
        elif tag not in _PLAIN or set(given) - {"class", "start", "style"}:
            self.found.append(f"<{tag}>")

    def handle_comment(self, data: str) -> None:
        self.found.append("<!-- -->")

    def unknown_decl(self, data: str) -> None:
        self.found.append("<![")


def loads_html(html: str) -> list[str]:
    """Return what a page with this HTML would load or run by itself."""
    reader = _Loading()
    reader.feed(html)
    reader.close()
    return reader.found


def loads(markdown: str) -> list[str]:
    """Return what a page with this Markdown, HTML allowed, would load or run by itself."""
    found: list[str] = []
    for rules in ([], ["table", "strikethrough"]):
        parser = MarkdownIt("commonmark", {"html": True}).enable(rules)
        found += loads_html(parser.render(markdown))
    return found
