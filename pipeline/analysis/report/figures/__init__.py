"""The project's figures: each is one Vega-Lite specification, for the page to draw and for its PNG and SVG."""
