"""Attempts on the validation split: changes of parameters, and the shares that are printed."""

import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.fmdllama.attempt import changed, shares
from stages.fmdllama.settings import Params

PARAMS = profile_params(Params, "fmdllama", "small")


def test_fields_of_the_variant_and_of_the_training_are_changed():
    t, v = changed(PARAMS, "reasoned", ["contexts=7", "form=label first", "learning_rate=0.5"])
    assert (v.name, v.contexts, v.form, t.learning_rate) == ("reasoned", 7, "label first", 0.5) and t.variants == (v,)
    assert t.reason_weight == PARAMS.train.reason_weight
    for name, changes, said in [("none", [], "There is no variant none"), ("reasoned", ["size=3"], "'size' is no field")]:
        with pytest.raises(CatalogError, match=said):
            changed(PARAMS, name, changes)


def test_shares_by_hand():
    gold, said = ["True", "False", "NEI", "NEI"], ["True", "True", "NEI", "False"]
    items = [{"label": label, "kind": kind} for label, kind in zip(gold, ["sign", "sign", "sign", "level"])]
    every, signs, numbers, _ = shares([{"label": label} for label in said], items)
    assert (every["kinds"], every["n"], every["accuracy"], every["nei_rest"], every["true_false"]) == ("all", 4, 0.5, 0.75, 0.5)
    assert (signs["kinds"], signs["n"], signs["accuracy"]) == ("signs", 3, pytest.approx(2 / 3))
    assert (numbers["n"], numbers["accuracy"], numbers["true_false"]) == (1, 0.0, None)
