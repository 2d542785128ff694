"""Pages for people: the report in Markdown, the page for the browser, charts, and the buckets of kept turns."""
