"""What the tests of `sepo` share: a method of each loss, a tokenizer of letters, three preference pairs."""

from dataclasses import replace

from catalog.training import pairs as pairing
from stages.sepo import method
from stages.sepo.settings import Method

PLAIN = Method(
    name="sepo",
    loss="sepo",
    selector="oracle",
    reference="none",
    chosen_share=0.4,
    rejected_share=0.4,
    beta=1.0,
    gamma=0.0,
    alpha=0.5,
    weight=1.0,
)


class Letters:
    """One token a letter: a is 2, b 3, …; 1 ends a text."""

    eos_token_id = 1

    def __init__(self, shift=95):
        self.shift = shift

    def __call__(self, texts, add_special_tokens=False):
        return {"input_ids": [[ord(letter) - self.shift for letter in text] for text in texts]}

    def convert_ids_to_tokens(self, token):
        return chr(token + self.shift)

    def get_vocab(self):
        return {chr(number): number - self.shift for number in range(97, 123)}


ROWS = [([9, 8, 7], "abcd", "efgh"), ([9, 9], "aaab", "ccccc"), ([5, 6], "ddab", "bcbcbc")]


def made(rows=ROWS, **limits):
    return pairing.encode_pairs(Letters(), rows, **{"max_prompt": 10, "min_response": 2, "max_length": 20} | limits)[0]


def of_loss(name, **rest):
    """PLAIN with another loss, and the reference that it needs."""
    reference = "live" if name in method.REFERENCED else "none"
    return replace(PLAIN, **{"name": name, "loss": name, "selector": "all", "reference": reference, "beta": 0.1} | rest)
