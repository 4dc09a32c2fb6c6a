"""The page a person reads."""

import re
from html.parser import HTMLParser

import pytest

from flowstone_demo import changes, distributions, findings, integrity, licences, page, plot, requirements


class Tags(HTMLParser):
    """Collects elements and texts, and complains when elements are not nested properly."""

    VOID = frozenset({"meta", "br", "link", "img", "path", "use"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(" ".join(data.split()))


def render(site, before=None):
    snapshot = distributions.read(site.environment)
    compared = integrity.check(integrity.read_records(site.environment))
    classified, resolved = licences.classify(snapshot), requirements.resolve(snapshot)
    difference = changes.compare(before, snapshot) if before else None
    found = findings.collect(snapshot, compared, classified, resolved, difference)
    return page.render(snapshot, compared, classified, resolved, found, difference, "2026-11-23")


@pytest.fixture
def html(reviewed):
    stages = [reviewed[name] for name in ("snapshot", "integrity", "licences", "requirements", "findings")]
    return page.render(*stages, day="2026-11-23")


def test_the_page_is_well_nested_and_names_its_sections(html):
    """Every element is closed where it must be, tables have header cells, and there is one first-level heading."""
    tags = Tags(html)

    assert tags.open == []
    headings = [tag for tag, _ in tags.seen if tag in ("h1", "h2")]
    assert headings == ["h1", "h2", "h2", "h2", "h2"]
    assert all(attrs.get("scope") == "col" for tag, attrs in tags.seen if tag == "th")
    assert ("html", {"lang": "en"}) in tags.seen


def test_the_page_needs_nothing_from_elsewhere(html):
    """Nothing is loaded: no script, no link, no image, no address but the names of XML vocabularies."""
    tags = Tags(html)

    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags.seen}
    assert {
        address for address in re.findall(r"https?://[^\s\"'<]+", html) if not address.startswith("http://www.w3.org/")
    } == set()
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]{0,1})", html)) <= {"#"}


def test_the_verdict_the_findings_and_the_limits_are_on_it(html, reviewed):
    """Verdict, every finding, everything not known and the sentence on RECORD can be read on the page."""
    texts = Tags(html).texts

    assert reviewed["findings"]["verdict"] in texts
    for finding in reviewed["findings"]["findings"]:
        assert finding["text"] in texts
    for text in reviewed["findings"]["not_known"]:
        assert text in texts


def test_the_plot_says_in_words_what_it_draws(html):
    """The plot is hidden from screen readers and its numbers stand beside it as text."""
    tags = Tags(html)

    (drawing,) = [attrs for tag, attrs in tags.seen if tag == "svg"]
    assert drawing["aria-hidden"] == "true"
    assert any("tampered: 0 as installed, 1 not checked, 1 differ or missing." in text for text in tags.texts)
    assert page.summary(html) == "report.html, 1 plot"


def test_hostile_metadata_stays_text(site):
    """Markup and formulas in names, versions and licences are shown as text, on the page and in the plot."""
    site.add("<script>alert(1)</script>", "1.0$x^2$", files={"a.py": "a"}, headers=("License: <img src=x onerror=alert(1)>",))

    html = render(site)

    assert "<script" not in html
    assert "<img" not in html
    assert "<script>alert(1)</script> 1.0$x^2$" in Tags(html).texts, "the plot's label"


def test_equal_input_gives_an_equal_page(reviewed, html):
    """The page and its drawing have no time and no chance in them."""
    stages = [reviewed[name] for name in ("snapshot", "integrity", "licences", "requirements", "findings")]

    assert page.render(*stages, day="2026-11-23") == html


def test_changes_have_a_section_once_there_is_an_earlier_snapshot(site):
    """Without an earlier snapshot there is no section on changes; with one it lists them or says there are none."""
    site.add("lib", files={"a.py": "a"})
    before = distributions.read(site.environment)
    assert "What changed since" not in render(site)
    assert "Nothing was installed, removed or upgraded." in render(site, before)

    site.add("new")
    assert "<td>added</td>" in render(site, before)


def test_an_empty_environment_still_makes_a_page(site):
    """With nothing installed there is a page without a plot, and it says that nothing could be compared."""
    html = render(site)

    assert "Nothing could be compared with what was installed." in html
    assert "How much could be compared" not in html
    assert page.summary(html) == "report.html, 0 plots"


def test_the_plot_shows_problems_before_size(site):
    """Distributions with a problem are drawn first, then the largest ones, at most twelve in all."""
    for number in range(14):
        site.add(f"lib{number:02}", files={f"l{number}/{index}.py": "x" for index in range(number + 1)})
    (site.path / "l0" / "0.py").write_text("changed")

    chosen = plot.choose(integrity.check(integrity.read_records(site.environment)))

    assert [entry["name"] for entry in chosen][:3] == ["lib00", "lib13", "lib12"]
    assert len(chosen) == 12


def test_bytecode_is_blamed_only_where_it_is_to_blame(site):
    """The page explains unchecked files by bytecode only where most of them are bytecode."""
    site.add("lib", files={"a.py": "a"})
    assert "mostly bytecode" not in render(site)

    site.add("more", rows=("b.pyc,,", "c.pyc,,", "d.pyc,,"))
    assert "mostly bytecode" in render(site)


def test_a_row_says_what_was_not_checked(site):
    """The table of everything names unchecked files and the reason why a whole distribution was not compared."""
    entry = {
        "name": "a",
        "version": "1",
        "listed": 5,
        "ok": 2,
        "differs": 1,
        "missing": 1,
        "cannot_check": {"no hash": 1},
        "reason": "",
    }

    assert page.describe_files(entry) == "2 as installed, 1 differs, 1 missing, 1 not checked"
    assert page.describe_files({**entry, "ok": 0, "differs": 0}) == "none compared, 1 missing, 1 not checked"
    assert page.describe_files({**entry, "reason": "no RECORD"}) == "not compared: no RECORD"
