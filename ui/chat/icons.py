"""One icon per feature, by its name in the icon set that Chainlit brings (lucide)."""

_ICONS = {
    "gpu": "cpu",
    "services": "server",
    "knowledge": "book-open",
    "recall": "bookmark",
    "notify": "bell",
    "users": "users",
    "setup": "list-checks",
    "jarvis": "sparkles",
    "jobs": "list-todo",
    "images": "image",
    "video": "clapperboard",
    "speech": "audio-lines",
    "training": "graduation-cap",
    "code": "code",
    "deploy": "rocket",
    "containers": "container",
    "network": "network",
    "secrets": "key-round",
    "models": "boxes",
    "nodes": "monitor",
    "payments": "credit-card",
    "home": "house",
    "agents": "bot",
    "workflows": "workflow",
}


def icon_of(tool_name: str) -> str:
    """Return the icon of a tool's feature."""
    return _ICONS.get(tool_name.partition("_")[0], "wrench")


def picture_of(feature: str) -> str:
    """Return the address of a feature's icon as a picture of our own."""
    drawn = {
        "cpu",
        "server",
        "book-open",
        "bookmark",
        "bell",
        "users",
        "list-checks",
        "sparkles",
        "bot",
    }
    icon = _ICONS.get(feature, "wrench")
    return f"/public/icons/{icon if icon in drawn else 'wrench'}.svg"
