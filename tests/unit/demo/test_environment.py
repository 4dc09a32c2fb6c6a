"""Which environment is reviewed, and that looking at it runs nothing that is installed in it."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from flowstone_demo import environment


@pytest.fixture
def made(tmp_path):
    """A virtual environment as ``python -m venv`` lays it out, without its cost."""
    home = tmp_path / "venv"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    site.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    (home / "pyvenv.cfg").write_text(
        f"home = {Path(os.path.realpath(sys.executable)).parent}\ninclude-system-site-packages = false\n"
    )
    return home, site


def test_a_virtual_environment_is_its_own_prefix_and_folder(made):
    """Of a virtual environment only its own site-packages are searched, not those of the Python it was made from."""
    home, site = made

    found = environment.find(str(home / "bin" / "python"))

    assert (found.prefix, found.paths, found.bases) == (str(home), (str(site),), ())
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.markers["sys_platform"] == sys.platform


def test_an_environment_folder_names_its_interpreter(made):
    """The folder of a virtual environment may be given instead of its interpreter."""
    home, _ = made

    assert environment.find(str(home)) == environment.find(str(home / "bin" / "python"))


def test_system_packages_count_where_the_environment_sees_them(made):
    """With include-system-site-packages the base interpreter's folders are searched after the environment's own."""
    home, site = made
    (home / "pyvenv.cfg").write_text("include-system-site-packages = True\n")

    found = environment.find(str(home))

    assert found.paths[0] == str(site)
    assert len(found.paths) > 1
    assert sys.base_prefix in found.bases


def test_code_in_pth_files_is_never_run(made, tmp_path):
    """A .pth file's folders are searched, and its import lines are left alone."""
    home, site = made
    extra, proof = tmp_path / "extra", tmp_path / "ran"
    extra.mkdir()
    (site / "evil.pth").write_text(f"import pathlib; pathlib.Path({str(proof)!r}).touch()\n# a comment\n{extra}\nnowhere\n")
    (site / "sitecustomize.py").write_text(f"import pathlib; pathlib.Path({str(proof)!r}).touch()\n")

    found = environment.find(str(home))

    assert found.paths == (str(site), str(extra))
    assert not proof.exists()


def test_the_active_virtual_environment_is_the_default(made, monkeypatch):
    """Without a name, VIRTUAL_ENV decides; without that, the running interpreter."""
    home, _ = made
    monkeypatch.setenv("VIRTUAL_ENV", str(home))
    assert environment.find().prefix == str(home)

    monkeypatch.delenv("VIRTUAL_ENV")
    assert environment.find().prefix == sys.prefix


def test_a_place_without_python_is_named_in_the_error(tmp_path, monkeypatch):
    """The error says which place, where the name came from and what to give instead."""
    with pytest.raises(environment.EnvironmentNotFoundError, match=r"nowhere \(from --python\); name one"):
        environment.find(str(tmp_path / "nowhere"))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    with pytest.raises(environment.EnvironmentNotFoundError, match="from VIRTUAL_ENV"):
        environment.find()


def test_a_program_that_is_not_python_is_refused_with_what_it_said(tmp_path):
    """An interpreter that does not answer is refused, with the first line of what it said."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'Unknown option: -I' >&2\nexit 2\n")
    program.chmod(0o755)

    with pytest.raises(environment.EnvironmentNotFoundError, match="Unknown option: -I"):
        environment.find(str(program))


def test_eggs_count_as_installed(site):
    """An .egg folder's metadata is found beside .dist-info and .egg-info."""
    (site.path / "old-1.0.egg" / "EGG-INFO").mkdir(parents=True)
    site.add("new")

    names = [Path(folder).name for _, folder in environment.metadata_folders(site.environment)]

    assert sorted(names) == ["EGG-INFO", "new-1.0.dist-info"]
