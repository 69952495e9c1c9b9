"""The report as HTML, Markdown, terminal tables and figures."""
