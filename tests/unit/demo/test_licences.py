"""Which category each licence falls into, in which terms, and on what evidence."""

import pytest

from flowstone_demo import distributions, licences

MIT_TEXT = "Permission is hereby granted, free of charge, to any person\nobtaining a copy of this software"


def only(site, *headers):
    site.add("lib", headers=headers)
    (found,) = licences.classify(distributions.read(site.environment))["distributions"]
    return found


@pytest.mark.parametrize(
    ("expression", "category", "strength"),
    [
        ("MIT", "permissive", ""),
        ("Apache-2.0 AND BSD-3-Clause", "permissive", ""),
        ("CC0-1.0", "permissive", ""),
        ("GPL-3.0-or-later", "copyleft", "strong"),
        ("AGPL-3.0-only", "copyleft", "strong"),
        ("MPL-2.0", "copyleft", "weak"),
        ("LGPL-2.1-only", "copyleft", "weak"),
        ("MIT OR GPL-3.0-only", "permissive", ""),
        ("MIT AND GPL-3.0-only", "copyleft", "strong"),
        ("MPL-2.0 AND (MIT OR GPL-2.0-only)", "copyleft", "weak"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "copyleft", "weak"),
        ("LicenseRef-Ours", "unknown", ""),
        ("MIT AND LicenseRef-Ours", "unknown", ""),
        ("MIT OR LicenseRef-Ours", "permissive", ""),
        ("GPL-3.0-only AND LicenseRef-Ours", "copyleft", "strong"),
        ("BUSL-1.1", "unknown", ""),
    ],
)
def test_an_expression_is_classed_by_what_binds(site, expression, category, strength):
    """Of an OR the freer part counts, of an AND the stricter one, an exception never makes it stricter."""
    found = only(site, f"License-Expression: {expression}")

    assert (found["category"], found["strength"]) == (category, strength)
    assert found["evidence"] == "from its License-Expression field"


@pytest.mark.parametrize(
    ("written", "spdx"), [("mit", "MIT"), ("apache-2.0 or mit", "Apache-2.0 OR MIT"), ("GPL-3.0", "GPL-3.0-only")]
)
def test_an_expression_is_given_in_its_normal_form(site, written, spdx):
    """Case and deprecated identifiers are brought into the form SPDX gives them."""
    assert only(site, f"License-Expression: {written}")["spdx"] == spdx


@pytest.mark.parametrize(
    ("classifier", "spdx", "category"),
    [
        ("OSI Approved :: MIT License", "MIT", "permissive"),
        ("OSI Approved :: GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later", "copyleft"),
        ("OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0", "copyleft"),
        ("OSI Approved :: BSD License", "", "permissive"),
        ("OSI Approved :: GNU General Public License (GPL)", "", "copyleft"),
        ("Other/Proprietary License", "", "unknown"),
        ("OSI Approved :: Licence of the Future", "", "unknown"),
    ],
)
def test_a_classifier_names_an_exact_licence_or_only_a_family(site, classifier, spdx, category):
    """A classifier without a version is classed, but no SPDX identifier is made up for it."""
    found = only(site, f"Classifier: License :: {classifier}")

    assert (found["spdx"], found["category"], found["evidence"]) == (spdx, category, "from its classifier")


def test_the_licence_field_makes_a_vague_classifier_exact(site):
    """Where classifier and free text agree in kind, the more exact of them names the licence."""
    found = only(site, "License: BSD 3-Clause License", "Classifier: License :: OSI Approved :: BSD License")

    assert (found["spdx"], found["evidence"]) == ("BSD-3-Clause", "from its License field and classifier")


def test_a_stricter_licence_field_beats_its_classifier(site):
    """Where classifier and free text disagree, the stricter counts and the evidence names the other."""
    found = only(site, "License: GPL-3.0-or-later", "Classifier: License :: OSI Approved :: MIT License")

    assert found["category"] == "copyleft"
    assert found["evidence"] == "from its License field, which is stricter than its classifier (MIT)"


def test_of_several_classifiers_the_strictest_counts(site):
    """Classifiers do not say whether all or one of them binds, so the strictest counts and no identifier is given."""
    found = only(
        site,
        "Classifier: License :: OSI Approved :: MIT License",
        "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
    )

    assert (found["category"], found["spdx"], found["said"]) == ("copyleft", "", "MIT / GPL-3.0-only")
    assert "strictest" in found["evidence"]


@pytest.mark.parametrize(
    ("text", "spdx", "category"),
    [
        ("The MIT License", "MIT", "permissive"),
        ("Apache License, Version 2.0", "Apache-2.0", "permissive"),
        ("BSD-2-Clause OR Apache-2.0", "BSD-2-Clause OR Apache-2.0", "permissive"),
        ("Modified BSD License", "BSD-3-Clause", "permissive"),
        ("GPLv3+", "GPL-3.0-or-later", "copyleft"),
        ("LGPL v3", "", "copyleft"),
        ("GPL", "", "copyleft"),
        ("see website", "", "unknown"),
    ],
)
def test_free_text_is_read_where_it_is_a_name(site, text, spdx, category):
    """Common spellings are understood; other text is quoted as evidence of not knowing."""
    found = only(site, f"License: {text}")

    assert (found["spdx"], found["category"]) == (spdx, category)


def test_unknown_says_what_was_looked_at(site):
    """An unknown licence's evidence names every place that was looked at and quotes the free text."""
    assert only(site, "License: see website")["evidence"] == 'no expression, no classifier, free text "see website"'


def test_an_expression_that_is_not_spdx_is_not_believed(site):
    """A License-Expression that does not parse counts for nothing, and the evidence says so."""
    found = only(site, "License-Expression: My Own Thing")

    assert (found["category"], found["spdx"]) == ("unknown", "")
    assert "expression 'My Own Thing' is not SPDX" in found["evidence"]


@pytest.mark.parametrize(
    ("text", "category"), [(MIT_TEXT, "permissive"), ("licensed under the GNU General\nPublic License. " + MIT_TEXT, "copyleft")]
)
def test_the_licence_file_is_the_last_evidence(site, text, category):
    """A licence file's wording is used when nothing else speaks; copyleft anywhere in it counts."""
    folder = site.add("lib", headers=("License-File: LICENSE",))
    (folder / "LICENSE").write_text(text)

    (found,) = licences.classify(distributions.read(site.environment))["distributions"]

    assert (found["category"], found["evidence"]) == (category, "from the wording of its licence file")


def test_summary_names_all_three_categories(reviewed):
    """The summary always says how many are unknown, also in a healthy environment."""
    assert licences.summary(reviewed["licences"]) == "1 permissive, 1 copyleft, 1 unknown"
