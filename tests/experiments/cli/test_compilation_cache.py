"""Where compiled programs are kept, and what turns that off."""

import os

import jax
import pytest

from experiments.cli.compilation_cache import delete_oldest, use_compilation_cache

FOLDER, ENABLED = "jax_compilation_cache_dir", "jax_enable_compilation_cache"
SECONDS = "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture
def settings(monkeypatch):
    """JAX's settings as in a process that sets nothing; they come back afterwards."""
    before = {name: getattr(jax.config, name) for name in (FOLDER, ENABLED, SECONDS)}
    jax.config.update(FOLDER, None)
    monkeypatch.delenv(SECONDS.upper(), raising=False)
    yield lambda name: getattr(jax.config, name)
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    use_compilation_cache(True)
    assert settings(FOLDER) == str(tmp_path / "cache" / "attnjax" / "compiled")
    assert settings(SECONDS) < 1  # JAX's default keeps no program of a toy


def test_without_that_variable_it_is_in_the_home_folder(
    settings, monkeypatch, tmp_path
):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    use_compilation_cache(True)
    assert settings(FOLDER) == str(tmp_path / ".cache" / "attnjax" / "compiled")


def test_a_folder_that_jax_was_given_is_kept(settings, tmp_path):
    jax.config.update(FOLDER, str(tmp_path / "mine"))
    use_compilation_cache(True)
    assert settings(FOLDER) == str(tmp_path / "mine")


def test_it_can_be_turned_off(settings):
    use_compilation_cache(False)
    assert settings(FOLDER) is None
    assert settings(ENABLED) is False


def test_a_folder_that_cannot_be_made_is_no_error(settings, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    use_compilation_cache(True)
    assert settings(FOLDER) is None


def test_no_home_is_no_error(settings, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", home)
    use_compilation_cache(True)
    assert settings(FOLDER) is None


def test_the_oldest_programs_are_deleted_first(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(bytes(7))
        os.utime(tmp_path / name, (100 - age, 100 - age))
    delete_oldest(tmp_path, 14)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
