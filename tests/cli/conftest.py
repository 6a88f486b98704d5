"""No setting of the caller's changes what is printed."""

import pytest


@pytest.fixture(autouse=True)
def quiet_settings(monkeypatch):
    """Short errors, in the width of no terminal."""
    monkeypatch.delenv("REBEL_PREF_TRACEBACK", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
