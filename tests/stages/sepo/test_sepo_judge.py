"""`sepo`: a judge compares answers in both orders, here or behind an address, and is off by default."""

import http.server
import json
import threading

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.sepo import judge
from stages.sepo.settings import Judge, Params

PROMPTS = pl.DataFrame({"id": ["x", "y"], "prompt": ["Sum up {a}.", "Sum up b."]})
ANSWERS = pl.DataFrame(
    {"run": ["untrained", "untrained", "p", "p", "q", "q"], "id": ["x", "y"] * 3, "answer": ["u", "v", "good one", "w", "z", "bad one"]}
)
J = Judge(model="tiny", url=None, against="untrained")


def by_words(questions):
    """Prefers an answer with 'good', rejects one with 'bad', and says A to all others."""
    out = []
    for text in questions:
        a, b = (text.split(f"[Answer {letter}]\n")[1].split("\n\n")[0] for letter in "AB")
        out.append("A" if "good" in a or "bad" in b else "B" if "good" in b or "bad" in a else "A")
    return out


def test_a_verdict_needs_both_orders_and_the_rest_is_a_tie():
    table = judge.judged(ANSWERS, PROMPTS, J, ("someone", by_words))
    assert table.schema == judge.JUDGED and set(table["judge"]) == {"someone"} and set(table["against"]) == {"untrained"}
    assert table.select("run", "id", "shown_first", "shown_second", "score").rows() == [
        ("p", "x", "A", "B", 1.0),
        ("p", "y", "A", "A", 0.5),  # always the first: a habit, no verdict
        ("q", "x", "A", "A", 0.5),
        ("q", "y", "B", "A", 0.0),
    ]
    rates = {r["run"]: (r["n"], r["value"]) for r in judge.win_rates(table)}
    assert rates == {"p": (2, 0.75), "q": (2, 0.25)}
    assert all(r["ci"][0] <= r["value"] <= r["ci"][1] for r in judge.win_rates(table))


def test_no_letter_is_no_verdict_and_an_unknown_run_is_told():
    table = judge.judged(ANSWERS, PROMPTS, J, ("someone", lambda questions: [None] * len(questions)))
    assert set(table["score"]) == {0.5} and table["shown_first"].null_count() == 4
    with pytest.raises(CatalogError, match="judge.against is 'dpo'; use one of untrained, p, q"):
        judge.judged(ANSWERS, PROMPTS, Judge("tiny", None, "dpo"), ("someone", by_words))
    alone = ANSWERS.filter(pl.col("run") == "untrained")
    assert judge.judged(alone, PROMPTS, J, ("someone", by_words)).is_empty()


@pytest.fixture
def server():
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((body, self.headers.get("Authorization")))
            if body["model"] == "tired" and len(seen) == 4:
                self.send_error(503)
                return
            if body["model"] == "gone":
                self.send_error(404)
                return
            said = {"choices": [{"message": {"content": " b, since it is short"}}]} if body["model"] in ("big", "tired") else ["what"]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[" * 100_000 if body["model"] == "deep" else json.dumps(said).encode())

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1/chat/completions", seen
    running.shutdown()


def test_a_judge_behind_an_address_is_asked_with_the_key(server, monkeypatch):
    url, seen = server
    monkeypatch.setenv(judge.KEY, "secret")
    table = judge.judged(ANSWERS, PROMPTS, Judge("big", url, "untrained"))
    assert set(table["shown_first"]) == {"B"} and set(table["score"]) == {0.5} and set(table["judge"]) == {f"big at {url}"}
    assert len(seen) == 8 and seen[0][1] == "Bearer secret" and seen[0][0]["temperature"] == 0
    assert "Sum up {a}." in seen[0][0]["messages"][0]["content"]  # braces of a text are left alone


def test_a_judge_that_fails_half_way_goes_on_where_it_was(server, tmp_path):
    url, seen = server
    kept = tmp_path / "judge" / "replies.jsonl"
    with pytest.raises(CatalogError, match="status 503"):
        judge.judged(ANSWERS, PROMPTS, Judge("tired", url, "untrained"), kept=kept)
    kept.write_text(kept.read_text() + '\n{"model": "tired", "url"')  # and was cut off while it wrote
    table = judge.judged(ANSWERS, PROMPTS, Judge("tired", url, "untrained"), kept=kept)
    texts = [body["messages"][0]["content"] for body, _ in seen]
    assert len(texts) == 9 and len(set(texts)) == 8 and texts[3] == texts[4]  # the one that failed is asked again, no other
    assert set(table["shown_first"]) == {"B"}
    judge.judged(ANSWERS, PROMPTS, Judge("tired", url, "untrained"), kept=kept)
    assert len(seen) == 9  # all are known now
    judge.judged(ANSWERS, PROMPTS, Judge("big", url, "untrained"), kept=kept)  # another judge has none of its replies
    assert len(seen) == 17


def test_a_judge_that_fails_is_told_in_a_sentence(server):
    url, _ = server
    odd = "in a form that is not"
    for model, where, said in (("gone", url, "status 404"), ("odd", url, odd), ("deep", url, odd), ("big", "ftp://x", "begins with https")):
        with pytest.raises(CatalogError, match=said):
            judge.judged(ANSWERS, PROMPTS, Judge(model, where, "untrained"))
    with pytest.raises(CatalogError, match="cannot be reached"):
        judge.judged(ANSWERS, PROMPTS, Judge("big", "http://127.0.0.1:9/x", "untrained"))


def test_nobody_judges_by_default():
    assert all(profile_params(Params, "sepo", profile).judge is None for profile in ("small", "full"))
