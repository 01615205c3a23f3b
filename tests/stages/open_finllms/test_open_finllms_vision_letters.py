"""The reader of letters: answers as models write them, among them those that others' readers have misread."""

import pytest

from stages.open_finllms.vision_letters import PROMPTS, letter, menu


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("B", "B"),
        (" b.", "B"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("C. A patient with fever", "C"),
        ("B) the red bar", "B"),
        ("A: up", "A"),
        ("選項 (B) 2.2 MeV", "B"),
        ("ANSWER: Don't know", "E"),
        ("ANSWER: (B)\nLet me know.", "B"),
        ("答案：A、C", "E"),
        ("我選擇 B", "B"),
        ("不選 A，選 C", "C"),
        ('{"answer": "D"}', "D"),
        ('Sure! {"Answer": "B. blue"} as asked', "B"),
        ('{"answer": "A or B"}', "E"),
        ('{"answer": 2}', "E"),
        ('{"answer": letter} B', "B"),
        ("The red bar is higher than the blue one. The answer is (C).", "C"),
        ("First A, then B are compared. Therefore the answer is B.", "B"),
        ("The answer is A. No, the answer is D.", "E"),
        ("A and B", "E"),
        ("It is not A but C", "C"),
        ("A is right", "A"),
        ("A bar is higher than the others.", "E"),
        ("Do the lines move? Can't tell", "E"),
        ("The price of AAPL rose by $B", "E"),
        ("Option D is right", "D"),
        ("E", "E"),
        ("F", "E"),
        ("", "E"),
        ("red", "E"),
        ("Dear user, Bars are high.", "E"),
        ("I would say B", "B"),
        ("Answer: A bar that rises", "E"),
    ],
)
def test_letters(text, right):
    assert letter(text, 4) == right


def test_only_the_questions_own_options_count():
    assert letter("C", 2) == "E" and letter("C", 3) == "C"
    assert letter("A, unlike C", 2) == "A" and letter("A, unlike C", 3) == "E"


def test_a_menu_lists_the_options():
    assert menu("Up?", ["yes", "no"], "letter") == f"Up?\nA. yes\nB. no\n{PROMPTS['letter']}"
