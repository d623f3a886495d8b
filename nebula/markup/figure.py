"""Plots that load nothing: whatever a Plotly figure would fetch by itself is taken out of it."""

import re
from collections.abc import Mapping
from typing import Any, Final

# Maps fetch their shapes and tiles from Plotly's and Mapbox's servers.
_MAPS = re.compile(r"geo|map", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_DROPPED: Final = frozenset(
    {"images", "mapbox", "map", "geo", "template", "updatemenus", "sliders"}
)


def local_figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure without maps, pictures, and values that are addresses."""
    traces = figure.get("data")
    layout = figure.get("layout")
    kept = [
        _without_addresses(trace)
        for trace in (traces if isinstance(traces, list | tuple) else ())
        if isinstance(trace, Mapping) and not _MAPS.search(_kind(trace))
    ]
    dressed = {
        name: _without_addresses(value)
        for name, value in (layout if isinstance(layout, Mapping) else {}).items()
        if not str(name).startswith(tuple(_DROPPED))
    }
    return {"data": kept, "layout": dressed}


def _kind(trace: Mapping[str, Any]) -> str:
    kind = str(trace.get("type", ""))
    return "" if kind in {"heatmap", "treemap"} else kind


def _without_addresses(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _without_addresses(inner)
            for key, inner in value.items()
            if not (key in {"source", "src", "href", "style"} and _is_address(inner))
        }
    if isinstance(value, list | tuple):
        return [_without_addresses(inner) for inner in value]
    return value


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and _ADDRESS.match(value.strip()) is not None
