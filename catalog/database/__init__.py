"""Cards, claims and reports gathered in one DuckDB file, and the commands that read it. Imports `base` and `report`, no torch."""
