"""Figures of the report: each is one Vega-Lite specification, drawn in the page and saved as PNG and SVG."""
