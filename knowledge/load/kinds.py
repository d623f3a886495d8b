"""Tells what kind of document something is."""

from pathlib import PurePosixPath

MARKDOWN = {".md", ".markdown", ".mdx"}
TEXT = {".txt", ".text", ".rst", ".log", ".csv", ".tsv", ".org", ".adoc", ".srt", ".vtt", ".tex"}
HTML = {".html", ".htm", ".xhtml"}
CODE = {
    ".py", ".pyi", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".vue", ".svelte", ".java", ".kt", ".scala", ".go", ".rs", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".swift", ".dart", ".ex", ".exs", ".erl", ".hs", ".ml", ".clj", ".sh", ".bash", ".zsh", ".fish", ".ps1", ".bat", ".sql", ".graphql", ".proto", ".css", ".scss", ".less", ".xml", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties", ".tf", ".nix", ".cmake", ".gradle", ".diff", ".patch", ".ipynb",
}  # fmt: skip
CODE_NAMES = {
    "dockerfile", "containerfile", "makefile", "caddyfile", "vagrantfile", "jenkinsfile",
    "procfile", "justfile", "gemfile",
}  # fmt: skip
TEXT_NAMES = {"readme", "license", "licence", "copying", "authors", "changelog", "notice", "news"}

_CONTENT_TYPES = {
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/json": "code",
    "application/xml": "code",
    "text/xml": "code",
    "application/yaml": "code",
    "application/toml": "code",
}


def kind_of_name(name: str) -> str | None:
    """Return the kind a file's name promises, or None when it promises nothing we know."""
    path = PurePosixPath(name.lower())
    suffix = path.suffix
    if suffix in {".pdf", ".docx"}:
        return suffix[1:]
    for kind, suffixes in (("markdown", MARKDOWN), ("html", HTML), ("code", CODE), ("text", TEXT)):
        if suffix in suffixes:
            return kind
    if path.name in CODE_NAMES:
        return "code"
    return "text" if path.name in TEXT_NAMES else None


def kind_of_page(content_type: str, path: str) -> str | None:
    """Return the kind of a fetched page: its content type counts, plain text asks its name."""
    plain = content_type.partition(";")[0].strip().lower()
    if plain in _CONTENT_TYPES:
        return _CONTENT_TYPES[plain]
    if plain in {"text/plain", "application/octet-stream", ""}:
        return kind_of_name(path) or ("text" if plain == "text/plain" else None)
    return "text" if plain.startswith("text/") else None
