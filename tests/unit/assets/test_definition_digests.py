"""The definition digest: what changes it, what does not, and what it cannot see."""

import ast
import os
import subprocess
import sys
import textwrap

import pytest

from flowstone.assets import Daily, Keys, Static, asset, definition_digest, definition_notes, describe, latest_before, source
from flowstone.assets.syntax import shape

HEAD = "from flowstone.assets import asset\n"
BODY = """
    import json
    import math as m
    LIMIT = 3
    TABLE = {}
    TABLE["a"] = 1
    def helper(x):
        return deeper(x) + LIMIT
    def deeper(x):
        return m.floor(x)
    def unrelated():
        return 1
    @asset(owners=["a"])
    def totals(orders, previous=None):
        "Sums."
        # a comment
        return [helper(x) + len(TABLE) for x in orders]
"""


@pytest.fixture
def digest(tmp_path):
    """A function that gives the digest of ``totals`` in a module of the given text."""
    path = tmp_path / "shop.py"

    def load(text, *, on_disk=True):
        text = textwrap.dedent(text)
        first, _, rest = text.partition("\n")
        text = f"{first}\n{HEAD}{rest}" if "__future__" in first else HEAD + text
        if on_disk:
            path.write_text(text)
        namespace = {"__name__": "shop"}
        exec(compile(text, str(path) if on_disk else "<nowhere>", "exec"), namespace)
        return namespace["totals"]

    load.path = path
    return load


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another\n        # and more"),
        ('"Sums."', '"Totals of the orders."'),
        ('@asset(owners=["a"])', '@asset(\n      owners=["b"], retries=3, description="x", tags=["t"])'),
        ("return 1", "return 2"),
        ("helper(x) + len(TABLE)", "(helper(x)  +  len(TABLE))"),
        ("    LIMIT = 3", "\n\n    LIMIT = 3"),
    ],
)
def test_the_digest_stays(digest, on_disk, old, new):
    """Comments, docstrings, formatting, positions, owners, retries and unrelated code do not change the digest."""
    before = definition_digest(digest(BODY, on_disk=on_disk))
    assert definition_digest(digest(BODY.replace(old, new), on_disk=on_disk)) == before


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("helper(x) + len", "helper(x) - len"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("m.floor", "m.ceil"),
        ("for x in orders", "for x in orders[1:]"),
        ("previous=None", "previous=0"),
        ('@asset(owners=["a"])', '@asset(format="text")'),
        ('@asset(owners=["a"])', '@asset(deps={"orders": "other"})'),
    ],
)
def test_the_digest_changes(digest, on_disk, old, new):
    """The body, what it calls in its module however far down, module constants, defaults, aliases and format change it."""
    before = definition_digest(digest(BODY, on_disk=on_disk))
    assert definition_digest(digest(BODY.replace(old, new), on_disk=on_disk)) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [("import math as m", "import cmath as m"), ('TABLE["a"] = 1', 'TABLE["a"] = 2'), ('TABLE["a"] = 1', "TABLE.update(b=1)")],
)
def test_source_sees_imports_and_changes_in_place(digest, old, new):
    """In a source file, where a name is imported from and how a table is filled count as well."""
    before = definition_digest(digest(BODY))
    assert definition_digest(digest(BODY.replace(old, new).replace("m.floor", "m.sqrt"))) != before
    changed = BODY.replace("m.floor", "m.sqrt")
    assert definition_digest(digest(changed.replace(old, new))) != definition_digest(digest(changed))


@pytest.mark.parametrize(
    "text",
    [
        "@asset\ndef totals():\n    return m.sqrt(4)",
        "@asset(\n  retries=2)\nasync def totals(config=3):\n    return m.sqrt(4)",
        "def make(n):\n    @asset\n    def totals():\n        return m.sqrt(n)\n    return totals\ntotals = make(3)",
        "class Sums:\n    @staticmethod\n    def totals():\n        return m.sqrt(4)\ntotals = asset(Sums.totals)",
        "class Sums:\n    def sum(self):\n        super().x()\n        m.sqrt(4)\n@asset\ndef totals():\n    return Sums()",
        "import functools\n@asset\n@functools.cache\ndef totals():\n    return [m.sqrt(4) for _ in (lambda: '12')()]",
        "try:\n    import json\nexcept ImportError:\n    json = None\n@asset\ndef totals():\n    json.loads('1')\n    m.sqrt(4)",
        "@asset\ndef totals(orders: m.Missing):\n    import os\n    os.getpid()\n    m.sqrt(4)",
    ],
)
def test_every_kind_of_function_is_found_in_its_source(digest, text):
    """Plain, async, nested, static, initializing, wrapped: the source is used, so the import behind a name counts."""

    def with_module(name):
        return definition_digest(digest(f"from __future__ import annotations\nimport {name} as m\n{text}"))

    assert with_module("math") != with_module("cmath")


def test_shapes_are_the_same_on_every_python():
    """A nested format, a type-free function and an empty text have the recorded shape, whichever Python parses them."""
    text = 'def f(a, b=""):\n    "doc"\n    return f"{a:>{b}}"'
    assert shape(ast.parse(text).body[0]) == (
        "FunctionDef(name='f',args=arguments(args=[arg(arg='a'),arg(arg='b')],defaults=[str:'']),"
        "body=[Return(value=JoinedStr(values=[FormattedValue(value=Name(id='a'),conversion=-1,"
        "format_spec=JoinedStr(values=[str:'>',FormattedValue(value=Name(id='b'),conversion=-1)]))]))])"
    )


def test_other_decorators_count(digest):
    """A decorator between the asset and its function is part of the code."""
    plain = BODY.replace("    @asset", "    import functools\n    def twice(f):\n        return f\n    @asset")
    wrapped = plain.replace("    def totals", "    @twice\n    def totals")
    assert definition_digest(digest(plain)) != definition_digest(digest(wrapped))


def test_locals_are_not_globals(digest):
    """A local name that a module constant has too does not tie the digest to the constant."""
    text = "    x = 1\n    @asset\n    def totals(orders):\n        x = 5\n        return x"
    assert definition_digest(digest(text)) == definition_digest(digest(text.replace("x = 1", "x = 2")))
    in_inner_scope = text.replace("x = 5", "[x for x in orders]")
    assert definition_digest(digest(in_inner_scope)) != definition_digest(digest(in_inner_scope.replace("x = 1", "x = 2")))


def test_an_edit_after_the_import_is_not_believed(digest):
    """Code that was loaded before its file was edited never gets the digest of the edited text."""
    old = digest(BODY)
    digest.path.write_text(HEAD + textwrap.dedent(BODY.replace("LIMIT = 3", "LIMIT = 4").replace("len(TABLE)", "7")))
    edited = digest(BODY.replace("LIMIT = 3", "LIMIT = 4").replace("len(TABLE)", "7"))
    digests = {definition_digest(old), definition_digest(edited)}
    assert len(digests) == 2
    stale = asset(name="totals")(old.function)  # declared now, from old code, next to the new text
    assert definition_digest(stale) not in digests


def test_factories_are_told_apart_by_their_closures(digest):
    """Assets from one function differ by the constants and functions they were made with."""
    text = """
        def make(n, step):
            @asset(name=f"a{n}")
            def body(orders):
                return orders + n + step(1)
            return body
        def up(x):
            return x + 1
        def down(x):
            return x - 1
        totals = [make(1, up), make(2, up), make(1, down), make(1, up)]
    """
    one, other, third, again = [definition_digest(item) for item in digest(text)]
    assert len({one, other, third}) == 3
    assert again == one


def test_recursion_ends(digest):
    """A function that reaches itself through its closure or its module has a digest."""
    text = """
        def make():
            def down(n):
                return n and down(n - 1)
            @asset
            def totals(orders):
                return down(orders) + outer(3)
            return totals
        def outer(n):
            return n and outer(n - 1)
        totals = make()
    """
    assert len(definition_digest(digest(text))) == 64
    assert definition_digest(digest(text)) != definition_digest(digest(text.replace("down(n - 1)", "down(n - 2)")))


def test_classes_of_the_module_count(digest):
    """The methods of a class that the function uses are part of its code."""
    text = """
        class Cart:
            def sum(self):
                return 1
        @asset
        def totals():
            return Cart().sum()
    """
    for on_disk in (True, False):
        before = definition_digest(digest(text, on_disk=on_disk))
        assert definition_digest(digest(text.replace("return 1", "return 2"), on_disk=on_disk)) != before


def test_the_given_version_replaces_the_code(digest):
    """With a code version only the version counts, not the code."""
    text = BODY.replace("@asset(", '@asset(code_version="2", ')
    before = definition_digest(digest(text))
    assert definition_digest(digest(text.replace("LIMIT = 3", "LIMIT = 4"))) == before
    assert definition_digest(digest(text.replace('"2"', '"3"'))) != before


def test_partitions_count_by_their_meaning():
    """New keys and a new start outdate nothing; another time zone, another kind of key and another mapping do."""

    def with_options(**options):
        return definition_digest(asset(name="x", code_version="1", **options)(lambda previous=None: previous))

    day = with_options(partitions=Daily("2026-01-01"))
    assert with_options(partitions=Daily("2025-01-01", past="refuse")) == day
    assert with_options(partitions=Static(["a"])) == with_options(partitions=Static(["a", "b"]))
    others = [
        with_options(partitions=Daily("2026-01-01", timezone="Asia/Tokyo")),
        with_options(partitions=Keys()),
        with_options(partitions=Keys(int)),
        with_options(),
        with_options(partitions=Daily("2026-01-01"), mapping={"previous": latest_before()}),
    ]
    assert len({day, *others}) == 6


@pytest.mark.parametrize("on_disk", [True, False])
def test_digests_agree_between_processes(tmp_path, on_disk):
    """Another process with another hash seed finds the same digest, with and without the source."""
    text = HEAD + textwrap.dedent(BODY).replace("LIMIT = 3", "LIMIT = frozenset({'a', 'b', 'c', 'd'})")
    text += "\ntotals2 = asset(name='totals2')(lambda: 1 in {'a', 'b', 'c'})\n"
    path = tmp_path / "shop.py"
    path.write_text(text)
    name = str(path) if on_disk else "<nowhere>"
    program = (
        "import sys; from flowstone.assets import definition_digest as d; space = {'__name__': 'shop'};"
        f"exec(compile(open({str(path)!r}).read(), {name!r}, 'exec'), space); print(d(space['totals']), d(space['totals2']))"
    )
    command = [sys.executable, "-c", program]
    seeds = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    answers = {subprocess.run(command, env=seed, capture_output=True, check=True).stdout for seed in seeds}
    assert len(answers) == 1


def test_notes_name_what_is_not_seen(digest):
    """The notes list the modules that are used, direct or through helpers, and closure values that cannot be looked into."""
    assert definition_notes(digest(BODY)) == "The digest does not see changes in the modules math."
    text = """
        def make(client):
            @asset
            def totals():
                return client
            return totals
        totals = make(object())
    """
    assert definition_notes(digest(text)) == "The digest does not see changes in the values client (object)."
    assert definition_notes(digest("    @asset\n    def totals():\n        return 1")) is None
    assert "version is given as '2'" in str(definition_notes(digest(BODY.replace("@asset(", '@asset(code_version="2", '))))


def test_the_description_is_plain_and_knows_no_machine(digest):
    """The stored definition holds plain values, the configuration's names but not its values, and no absolute path."""
    totals = digest(BODY.replace("@asset(", '@asset(config={"key": "secret:K"}, '))
    stored = describe(totals)
    assert (stored["name"], stored["kind"], stored["file"], stored["config"]) == ("totals", "asset", "shop.py", ["key"])
    assert stored["upstream"][1] == {"parameter": "previous", "asset": "previous", "optional": True}
    assert stored["digest"] == definition_digest(totals)
    assert "secret:K" not in str(stored)
    assert str(digest.path.parent) not in str(stored)
    assert describe(source("rates", version=lambda: "1"))["kind"] == "observed"
