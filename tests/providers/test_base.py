"""Providers are made by name; only the asked one is imported."""

import json
import subprocess
import sys

import pytest

from engine.errors import Invalid
from providers.base import make_provider, provider_names, register_provider
from providers.scripted import Scripted

PROBE = """
import json, sys
import providers.base, providers.output, providers.tokens
provider = providers.base.make_provider("scripted")
heavy = {"anthropic", "openai", "google.genai", "httpx2", "genai_prices"}
print(json.dumps([provider.name, sorted(heavy & sys.modules.keys())]))
"""


def test_the_scripted_provider_imports_no_sdk():
    found = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(found.stdout) == ["scripted", []]


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(Invalid, match=r"anthropic, .*gemini, .*openai, .*scripted"):
        make_provider("nobody")


def test_a_provider_can_be_added_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("providers.base.PROVIDERS", {})
    made = Scripted(["hi"])
    register_provider("own", lambda api_key="", base_url=None, load_media=None, timeout_s=1.0: made)
    assert "own" in provider_names()
    assert make_provider("own", api_key="k") is made
