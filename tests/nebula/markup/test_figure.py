"""Plots that load nothing."""

import json

from nebula.markup.figure import local_figure


def test_a_figure_keeps_its_bars_and_loses_what_it_would_fetch() -> None:
    bars = {"type": "bar", "x": ["http://evil.test/label"], "y": [1]}
    flow = {"type": "sankey", "link": {"source": [0], "target": [1], "value": [2]}}
    figure = {
        "data": [
            bars,
            flow,
            {"type": "image", "source": "http://evil.test/a.png"},
            {"type": "scattergeo", "lon": [1]},
            {"type": "choroplethmapbox", "geojson": "http://evil.test/b"},
        ],
        "layout": {
            "title": {"text": "x"},
            "images": [{"source": "http://evil.test/c.png"}],
            "mapbox2": {"style": "http://evil.test/d"},
            "geo": {},
            "template": {"layout": {"images": [{"source": "//evil.test/e"}]}},
        },
    }
    kept = local_figure(figure)
    assert kept == {"data": [bars, flow, {"type": "image"}], "layout": {"title": {"text": "x"}}}
    assert "evil.test" in json.dumps(figure)


def test_a_figure_of_any_shape_is_taken() -> None:
    for odd in (
        {},
        {"data": None},
        {"data": "x", "layout": []},
        {"data": [1, {"type": "heatmap"}]},
    ):
        assert set(local_figure(odd)) == {"data", "layout"}
