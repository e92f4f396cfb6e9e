"""The page of a run: its parts as HTML, its charts as SVG."""
