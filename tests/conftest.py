"""Profiles of hypothesis: few examples by default, the same ones in CI, and many on request."""

import os

from hypothesis import HealthCheck, settings

# A machine that stands still for a moment has found no mistake.
on_any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("little", on_any_machine, max_examples=40)
settings.register_profile("ci", on_any_machine, max_examples=60, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", on_any_machine, max_examples=5000)  # uv run pytest --hypothesis-profile=thorough
settings.load_profile("ci" if os.environ.get("CI") else "little")
