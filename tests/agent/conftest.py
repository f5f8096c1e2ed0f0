"""Models around scripts, as for the tests of the API."""

from __future__ import annotations

from tests.api.conftest import scripted_model as scripted_model
