"""Pairs of texts as JSON lines, for the tests of simdoc."""

import json


def pair(name="a", source="Long text here.", target="Short.", levels=("hard", "easy"), **more):
    return {"id": name, "source": source, "target": target, "source_level": levels[0], "target_level": levels[1]} | more


def write_lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path
