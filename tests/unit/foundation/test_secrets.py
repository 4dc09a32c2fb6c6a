"""A secret is named in settings and resolved late; whoever resolves it makes sure that it is masked."""

from __future__ import annotations

import pytest

from flowstone.foundation.errors import SettingsError
from flowstone.foundation.redaction import MASK, Redactor
from flowstone.foundation.secrets import resolver


def test_a_variable_comes_before_a_mounted_file(tmp_path):
    """``secret:NAME`` is the variable NAME, else the file NAME without its last line break."""
    (tmp_path / "DB").write_text("from file\n")
    (tmp_path / "OTHER").write_text("two\nlines\n")
    resolve = resolver(lambda value: None, {"DB": "from variable"}, tmp_path)

    assert resolve("DB") == "from variable"
    assert resolve("OTHER") == "two\nlines"


def test_a_resolved_secret_is_masked_from_then_on(tmp_path):
    """The redactor learns each value when it is resolved."""
    redactor = Redactor()
    resolve = resolver(redactor.add_value, {"DB": "hunter2hunter2"}, tmp_path)
    assert redactor.text("it is hunter2hunter2") == "it is hunter2hunter2"

    resolve("DB")
    assert redactor.text("it is hunter2hunter2") == f"it is {MASK}"


@pytest.mark.parametrize("name", ["MISSING", "../DB", "/etc/hostname", "", "a b"])
def test_an_unknown_secret_is_refused(tmp_path, name):
    """A name that is neither, or that would leave the folder of secrets, is an error that names it."""
    (tmp_path / "mounted").mkdir()
    (tmp_path / "DB").write_text("x")
    remembered = []

    with pytest.raises(SettingsError, match=f"the secret named {name} is neither"):
        resolver(remembered.append, {}, tmp_path / "mounted")(name)
    assert remembered == []
