"""The pages people read: report.md, its charts, index.html, the buckets."""
