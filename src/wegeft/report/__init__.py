"""The report: one self-contained HTML file with the tables, the figures, a page per run and a page per method."""
