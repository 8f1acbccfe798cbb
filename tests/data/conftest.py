"""What the tests of this folder share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _heard(monkeypatch):
    """Let `caplog` hear the logger also after a test that set it up for the console."""
    monkeypatch.setattr(logging.getLogger("anneal"), "propagate", True)
