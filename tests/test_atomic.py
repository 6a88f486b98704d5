"""Files and folders are there whole, or as they were before."""

import os

import pytest

from rebel_pref.atomic import new_file, new_folder, new_numbered, numbered, write_text


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def empty(path, **options):
    with new_numbered(path, **options) if options else new_folder(path):
        pass


def write_half(opened, name=""):
    with opened as staging:
        (staging / name if name else staging).write_text("half")
        raise KeyError


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    with pytest.raises(KeyError):
        write_half(new_file(path))
    assert path.read_text() == "one" and names(tmp_path) == ["a.txt"]
    with new_file(path) as staging:
        assert staging.suffix == ".txt" and path.read_text() == "one"
        staging.write_text("two")
    assert path.read_text() == "two" and names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_when_it_is_whole(tmp_path):
    """Another that a kill left behind goes; one with a like name stays."""
    path = tmp_path / "deep" / "run[1]"
    with new_folder(path) as staging:
        (staging / "a").write_text("one")
    (path.parent / ".run[1].part1").mkdir()
    (path.parent / ".run1.part1").mkdir()
    with pytest.raises(KeyError):
        write_half(new_folder(path), "b")
    assert names(path) == ["a"] and names(path.parent) == [".run1.part1", "run[1]"]
    with new_folder(path) as staging:
        (staging / "b").write_text("two")
    assert names(path) == ["b"]


def test_a_kill_at_the_exchange_loses_nothing(tmp_path):
    """The old folder has moved aside, and the new one is not in its place yet."""
    path = tmp_path / "run"
    with new_folder(path) as staging:
        (staging / "a").write_text("one")

    path.rename(tmp_path / ".run.old")
    with pytest.raises(KeyError):
        write_half(new_folder(path), "b")
    assert names(path) == ["a"] and names(tmp_path) == ["run"]
    (tmp_path / ".run.old").mkdir()  # Killed after it: nothing is missing.
    empty(path)
    assert names(path) == [] and names(tmp_path) == ["run"]


def test_a_failed_exchange_puts_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with new_folder(path) as staging:
        (staging / "a").write_text("one")

    def failing(source, target):
        if ".part" in str(source):
            raise OSError("disk")
        replace(source, target)

    replace = os.replace
    monkeypatch.setattr("rebel_pref.atomic.os.replace", failing)
    with pytest.raises(OSError, match="disk"):
        empty(path)
    assert names(path) == ["a"] and names(tmp_path) == ["run"]


def test_what_is_no_folder_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(NotADirectoryError, match="is no folder"):
            empty(tmp_path / name)
    assert names(tmp_path) == ["file", "link"]


def test_a_numbered_folder_that_a_kill_moved_aside_comes_back(tmp_path):
    (tmp_path / ".step-0008.old").mkdir()
    (tmp_path / ".step-0008.old" / "a").write_text("the only copy")
    with pytest.raises(KeyError):
        write_half(new_numbered(tmp_path / "step-0008", keep=1), "b")
    assert names(tmp_path / "step-0008") == ["a"]


def test_numbered_folders_keep_the_latest(tmp_path):
    for number in (9, 10, 11):
        (tmp_path / f".step-{number - 1:04d}.part7").mkdir()
        empty(tmp_path / f"step-{number:04d}", keep=2)
    assert names(tmp_path) == ["step-0010", "step-0011"]


def test_numbered_entries_in_order(tmp_path):
    for name in ("step-10", "step-9", "step-x", "steps-1", ".step-3", "step-0004"):
        (tmp_path / name).mkdir()
    assert list(numbered(tmp_path, "step")) == [4, 9, 10]
    assert numbered(tmp_path, "step")[4].name == "step-0004"
    assert numbered(tmp_path / "none", "step") == {}
