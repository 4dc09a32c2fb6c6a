"""What is committed: nothing of the machine it was written on, and no command or number that is not so."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib

import pytest

MACHINE_PATHS = re.compile(r"(?<![\w.~/-])/(?:work|tmp|opt|root|mnt/data)/[\w.]|file:/{2}|\bfind-links\b|\bindex-url\b")
PRIVATE_HOSTS = re.compile(r"://(?:10\.\d|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)|://[\w.-]+\.(?:internal|intranet|corp|lan)\b")
LEFTOVERS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
SPEAKS_OF_PATHS = frozenset({"Makefile", "tests/architecture/test_repo.py"})  # the options `make pins` leaves out; this file


@pytest.fixture(scope="module")
def committed(root):
    """Path → text of every text file that is or could be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = [name for name in listing.stdout.split("\0") if name and (root / name).is_file()]
    else:  # an unpacked archive: everything in it was committed
        paths = [*root.glob("*.*"), *(path for folder in ("src", "tests", "docs") for path in (root / folder).rglob("*.*"))]
        names = [path.relative_to(root).as_posix() for path in [*paths, root / "Makefile"]]
    texts = {}
    for name in names:
        try:
            texts[name] = (root / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, IsADirectoryError):
            continue
    return texts


@pytest.fixture(scope="module")
def targets(root):
    """Target → its one line, of every target of the Makefile that is meant for people."""
    return dict(re.findall(r"^([a-z]+):.*?## (.+)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _lines_with(pattern, texts):
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, PRIVATE_HOSTS], ids=["paths", "hosts"])
def test_nothing_of_the_machine_is_committed(committed, pattern):
    """No file names a folder, a host or a package index of the machine it was written on."""
    assert _lines_with(pattern, {name: text for name, text in committed.items() if name not in SPEAKS_OF_PATHS}) == []


def test_no_leftovers_are_committed(committed):
    """No source or test carries a note to finish it later."""
    assert _lines_with(LEFTOVERS, {name: text for name, text in committed.items() if name.endswith(".py")}) == []


def test_the_readmes_commands_are_targets(committed, targets):
    """Every ``make x`` in the README and in CONTRIBUTING is a target of the Makefile."""
    named = {
        target
        for page in ("README.md", "CONTRIBUTING.md")
        for code in re.findall(r"```.*?```|`[^`\n]+`", committed[page], re.DOTALL)
        for target in re.findall(r"\bmake ([a-z]+)", code)
    }

    assert named - targets.keys() == set()
    assert {"demo", "check"} <= named


def test_the_first_target_is_help_and_lists_the_others(root, targets):
    """``make`` alone prints every target with its line."""
    printed = subprocess.run(["make", "-s"], cwd=root, capture_output=True, text=True, check=True).stdout

    assert [target for target, line in targets.items() if not re.search(rf"make {target} +{re.escape(line)}", printed)] == []
    assert {"setup", "demo", "test", "check", "lint", "types", "floors", "bench", "prove", "pins", "clean"} <= targets.keys()


def test_ci_runs_what_people_run(root):
    """The build server's script calls ``make check`` and stops at the first failure."""
    script = (root / ".ci/run").read_text(encoding="utf-8")

    assert script.splitlines()[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in script
    assert re.search(r"^make check$", script, re.MULTILINE)
    assert (root / ".ci/run").stat().st_mode & 0o111


def test_the_changelog_has_room_for_the_next_change(committed):
    """CHANGELOG.md has one section for what is not released."""
    assert len(re.findall(r"^## \[?Unreleased\]?", committed["CHANGELOG.md"], re.MULTILINE)) == 1


def test_every_declared_dependency_is_pinned(root, committed):
    """constraints.txt has an exact version, and nothing else, for each dependency of ``pyproject.toml``."""
    project = tomllib.loads(committed["pyproject.toml"])["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.match(r"[\w.-]+", text)[0].lower() for group in groups for text in group} - {"flowstone"}
    pins = [line for line in committed["constraints.txt"].splitlines() if line and not line.startswith("#")]

    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.!+]+(?: ; [^;]+)?", line)] == []
    assert declared - {line.partition("==")[0] for line in pins} == set()


def test_decision_records_have_their_three_parts(committed):
    """Each decision record is numbered once and says its context, the decision and what follows from it."""
    records = {name: text for name, text in committed.items() if re.fullmatch(r"docs/adr/\d{4}-[a-z0-9-]+\.md", name)}
    numbers = [name.split("/")[2][:4] for name in records]

    assert sorted(set(numbers)) == sorted(numbers)
    assert [
        name
        for name, text in records.items()
        if re.findall(r"^## (Context|Decision|Consequences)$", text, re.MULTILINE) != ["Context", "Decision", "Consequences"]
    ] == []


def _is_unexplained(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute) and ast.unparse(node) in {"pytest.mark.skip", "pytest.mark.xfail"}:
        return True  # bare marker; with a call around it, the call is looked at and the attribute is not
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    if called in {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail", "pytest.importorskip"}:
        return not any(keyword.arg == "reason" for keyword in node.keywords)
    return called in {"pytest.skip", "pytest.xfail"} and not (node.args or node.keywords)


def test_no_test_is_left_out_without_a_reason(tests):
    """Whatever skips a test, or expects it to fail, says why."""
    unexplained = []
    for module in tests:
        called = {id(node.func) for node in module.walk() if isinstance(node, ast.Call)}
        unexplained += [module.at(node) for node in module.walk() if id(node) not in called and _is_unexplained(node)]

    assert unexplained == []
