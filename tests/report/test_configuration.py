import dataclasses

import yaml

from latentloom.report.configuration import configurations, differing


def test_fields_that_differ_are_told_and_no_others(make_record):
    def with_terms(recipe, seed, **terms):
        record = make_record(recipe, seed)
        return dataclasses.replace(record, config={**record.config, "seed": seed, "objective": terms})

    runs = {
        "a": [with_terms("a", 0, lam=None, terms={"cross_entropy": {"weight": 1.0, "options": {}}})],
        "b": [with_terms("b", 1, lam=0.5, terms={"cross_entropy": {"weight": 2.0, "options": {}}})],
    }
    assert differing(runs) == {
        "objective.terms.cross_entropy.weight": ["1.0", "2.0"],
        "objective.lam": ["–", "0.5"],
    }
    assert differing({"a": runs["a"]}) == {}


def test_a_configuration_can_be_read_again(make_record):
    record = make_record()
    (text,) = configurations({"a": [record]}).values()
    assert yaml.safe_load(text) == record.config
