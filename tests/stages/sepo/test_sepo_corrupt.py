"""Corruptions of summaries for sepo: what each kind changes, what it leaves alone, and what is drawn."""

from collections import Counter

import numpy as np
import pytest

from stages.sepo import lexicon
from stages.sepo.corrupt import KINDS, NO_DOCUMENT, NO_SUMMARY, NOTHING, changes, draw


def corrupted(summary, document, kind):
    """Rejected summaries of a kind, for a few draws."""
    found = set()
    for seed in range(60):
        made = [change for change in changes(summary, document, np.random.default_rng(seed)) if change.kind == kind]
        found |= {change.apply(summary) for change in made}
    return found


def numbers_of(summary, document=""):
    return corrupted(summary, document, "number")


def test_a_number_becomes_another_of_the_document_in_the_same_form():
    text = "The firm sold £12m of land in 2014, £35m in 2016, then 40 hectares on 3 May."
    assert numbers_of("The firm sold £12m of land in 2014.", text) == {
        "The firm sold £35m of land in 2014.",
        "The firm sold £12m of land in 2016.",
    }
    assert numbers_of("It sold 12 fields.", "It has 13 fields, 90 sheep and 123 hens.") == {
        "It sold 90 fields."
    }  # 13 is too near, 123 longer


def test_a_number_without_a_match_becomes_a_plausible_neighbour():
    assert {s.split()[2] for s in numbers_of("It was 2001.")} == {"1997.", "1998.", "1999.", "2000.", "2002.", "2003.", "2004."}
    ages = {int(s.split()[1].split("-")[0]) for s in numbers_of("A 15-year-old boy ran.")}
    assert ages <= set(range(6, 18)) - {14, 15, 16} and len(ages) > 3  # a boy stays under 18
    assert {s.split()[2] for s in numbers_of("It cost £2,000 then.")} <= {"£800", "£1,000", "£3,000", "£4,000", "£5,000"}
    assert all(
        s.startswith(("An 8-", "An 11-", "An 18-")) == (s.split()[0] == "An") for s in numbers_of("A 9-year-old cat ran.")
    )  # the article follows the number


def test_bounds_are_kept_false():
    assert all(int(s.split()[3]) > 100 for s in numbers_of("More than 100 came.".replace("More", "Well, more")))
    assert all(int(s.split()[2]) > 100 for s in numbers_of("More than 100 came."))
    assert all(int(s.split()[2]) < 100 for s in numbers_of("Up to 100 came."))
    assert numbers_of("At least eleven came.") == {"At least twelve came."}
    assert all(abs(int(s.split()[1]) - 100) > 34 for s in numbers_of("About 100 came."))


@pytest.mark.parametrize(
    "summary",
    [
        "They won 6-4 in Rome.",
        "It ran in the 2017-18 season.",
        "He went to Euro 2016 with Windows 10.",
        "A crash on the A36 shut it.",
        "It fell between 5 and 7 times.",
        "Police want a 10-man team at 10:30.",
        "One of the first 1 or two.",
        "Two-thirds are gone.",
        "The Big Four met.",
    ],
)
def test_numbers_of_names_ranges_and_scores_stay(summary):
    assert numbers_of(summary, "There were 44 and 1999 and 77.") == set()


def test_number_words_keep_their_case_and_stay_two_or_more():
    assert numbers_of("Two men left.") == {f"{word} men left." for word in ("Three", "Four", "Five")}
    assert numbers_of("Six men left.", "The nine were there.") == {"Nine men left."}
    assert numbers_of("She signed an eight-year deal.", "A seven-year deal was not enough.") == {"She signed a seven-year deal."}


DOCUMENT = (
    "Jo Bell was there with Ann Reed. Bell said so. Ms Reed left. Leeds United met Hull City near Paris after Lyon lost. "
    "Google sued Apple. "
    "The Welsh and French teams came from Spain and from Essex. Leeds Museum and Hull Museum shut. Mr Vokes saw Zork Vokes."
)


def test_names_are_exchanged_within_their_class():
    assert corrupted("Jo Bell won a prize.", DOCUMENT, "entity") == {"Ann Reed won a prize.", "Zork Vokes won a prize."}
    assert corrupted("Google bought a shop.", DOCUMENT, "entity") == {"Apple bought a shop."}
    assert corrupted("Stoke City's striker left.", DOCUMENT, "entity") == {"Leeds United's striker left.", "Hull City's striker left."}
    assert corrupted("York Museum opened.", DOCUMENT, "entity") == {"Leeds Museum opened.", "Hull Museum opened."}
    assert corrupted("They met in Rome.", DOCUMENT, "place") == {"They met in Paris.", "They met in Lyon."}
    assert corrupted("A Danish firm grew.", DOCUMENT, "place") == {"A Welsh firm grew.", "A French firm grew."}
    assert corrupted("It rained in Kent.", DOCUMENT, "place") == {"It rained in Essex."}
    assert corrupted("Italy won.", DOCUMENT, "place") == {"Spain won."}
    assert corrupted("A Welsh firm grew.", "An English firm and an Irish one.", "place") == {"An English firm grew.", "An Irish firm grew."}


@pytest.mark.parametrize(
    ("summary", "document"),
    [
        ("Jo Bell met Ann Reed and Zork Vokes.", DOCUMENT),  # every other name is there already
        ("Jo Bell was jailed.", DOCUMENT),  # nobody is accused in another's place
        ("Tim Bell won.", "Jo Bell won. Bell said so."),  # two of one name
        ("Jo Bell won.", "Andrew Parade was full. The Parade was full."),  # no person
        ("Co-op Bank grew.", "The Co-operative Bank said so."),  # one thing under two names
        ("London 2012 was fun.", "It was in Paris."),  # an event
        ("They met in Leeds City Museum.", "It was in Paris."),  # not the whole name
        ("Britain won.", "Scotland won."),  # a part of it
        ("Jo Bell won.", ""),
    ],
)
def test_names_that_stay(summary, document):
    assert corrupted(summary, document, "entity") | corrupted(summary, document, "place") == set()


def test_dates():
    assert corrupted("It shut on Friday.", "It rained on Monday.", "date") == {"It shut on Monday."}
    assert len(corrupted("It shut on Friday.", "", "date")) == 6
    assert corrupted("It shut on 31 January.", "", "date") <= {
        f"It shut on 31 {m}." for m in ("March", "May", "July", "August", "October", "December")
    }
    assert corrupted("It shut two years ago.", "", "date") == {"It shut two months ago."}
    assert corrupted("It shut last year.", "", "date") == {"It shut last month."}
    assert corrupted("It shut in summer.", "", "date") == {"It shut in winter."}
    for summary in (
        "It lasted for years.",
        "It took more than two years.",
        "Sheffield Wednesday won.",
        "The Sunday Times wrote it.",
        "Theresa May won.",
        "It rose in three months of the year.",
    ):
        assert corrupted(summary, "On Monday in July.", "date") == set()


def test_negation_is_added_to_a_verb_and_taken_from_one():
    change = changes("A man has been found.", "", np.random.default_rng(0))[0]
    assert (change.kind, change.start, change.end, change.replacement) == ("negation", 10, 14, "not been")
    assert corrupted("She will run and could win.", "", "negation") == {
        "She will not run and could win.",
        "She will run and could not win.",
    }
    assert corrupted("She has not left.", "", "negation") == {"She has left."}
    assert corrupted("She can't swim and is here.", "", "negation") == {"She can swim and is here."}
    assert corrupted("She is no longer here.", "", "negation") == {"She is still here."}
    assert corrupted("No plans are known.", "", "negation") == {"Plans are known."}
    for summary in (
        "Will it rain?",
        "He left, a court has heard.",  # no claim of its own
        "She did not go.",  # the verb would need another form
        "He was not charged.",  # would accuse him
        "It has a roof.",
        "He is also here.",
    ):
        assert corrupted(summary, "", "negation") == set()


@pytest.mark.parametrize(
    ("summary", "rejected"),
    [
        ("Sales rose by a third.", {"Sales fell by a third."}),
        ("After the war it grew.", {"Before the war it grew.", "After the war it shrank."}),
        ("A man was found.", {"A woman was found."}),
        ("A man lost his hat.", set()),  # the pronoun would give it away
        ("It was named after him.", set()),
        ("The man and the woman met.", set()),  # the opposite is there already
        ("The well-before-tea men", {"The well-before-tea women"}),  # no part of a compound
        ("A win over Ayr cheered them.", {"A defeat by Ayr cheered them."}),
        ("It was a successful day.", {"It was an unsuccessful day."}),
        ("More than 30 came.", {"Less than 30 came."}),
        ("Leeds Before Dawn fared well.", set()),  # a name
        ("The end of it came.", {"The start of it came."}),
        ("He was charged with theft.", {"He was cleared of theft."}),
        ("They fell ill.", set()),
    ],
)
def test_antonyms(summary, rejected):
    assert corrupted(summary, "", "antonym") == rejected


def test_the_list_of_antonyms_is_large_and_sane():
    pairs = {frozenset(pair) for pair in lexicon.ANTONYMS}
    assert len(pairs) >= 60 and all(left != right for left, right in lexicon.ANTONYMS)
    assert set(lexicon.BARRED) <= {left for left, _ in lexicon.ANTONYMS}
    assert {frozenset(p) for p in (("rose", "fell"), ("won", "lost"), ("before", "after"))} <= pairs


def test_spans_begin_where_the_texts_part_and_are_whole_words():
    summary = "They voted against it in last year's poll at the end of May; an 8-year-old was found guilty after the vote."
    found = changes(summary, "A 9-year-old was there.", np.random.default_rng(0))
    assert {change.kind for change in found} == {"number", "date", "negation", "antonym"}
    for change in found:
        old, new = summary[change.start : change.end], change.replacement
        assert old.split()[0] != new.split()[0] and old == old.strip() and new == new.strip()
        assert not (summary[: change.start][-1:] + summary[change.end :][:1]).strip(" ;.,-'").isalnum()
    spans = {(summary[c.start : c.end], c.replacement) for c in found}
    assert {("against", "for"), ("end", "start"), ("guilty", "not guilty"), ("an 8", "a 9")} <= spans


SUMMARIES = [
    ("a", "Jo Bell met Ann Reed in Paris on Monday. Bell said 30 came. Ms Reed said so.", "Jo Bell has met 20 men in Lyon after Friday."),
    ("b", "It rained in Spain.", "Italy won."),
    ("c", "", "Italy won."),
    ("d", "It rained.", "Ouch!"),
    ("e", "Text.", " "),
]


def test_draws_are_even_of_different_kinds_and_give_reasons():
    made = draw(SUMMARIES, 3, KINDS, 0)
    assert list(made) == list("abcde") and made["c"] == NO_DOCUMENT and made["d"] == NOTHING and made["e"] == NO_SUMMARY
    kinds = [change.kind for change in made["a"]]
    assert len(set(kinds)) == len(kinds) == 3 and [c.start for c in made["a"]] == sorted(c.start for c in made["a"])
    assert [change.apply("Italy won.") for change in made["b"]] == ["Spain won.", "Italy lost."]
    assert draw(SUMMARIES, 3, KINDS, 0) == made and draw(SUMMARIES, 1, ("place",), 0)["a"][0].kind == "place"
    verbs = ("won", "rose", "grew")  # three rules of one kind
    many = [(str(i), "It rained on Monday. It rained in Spain.", f"Italy {verbs[i % 3]} on Friday.") for i in range(30)]
    counts = Counter(change.kind for found in draw(many, 1, KINDS, 0).values() for change in found)
    assert counts == {"place": 10, "date": 10, "antonym": 10}
    assert draw(many, 1, KINDS, 0) != draw(many, 1, KINDS, 1)
