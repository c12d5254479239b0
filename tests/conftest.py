"""How hard hypothesis tries: a little at each run, always the same in CI, and for long when somebody asks for it."""

import os

from hypothesis import settings

settings.register_profile("little", max_examples=40, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", max_examples=5000, deadline=None)  # uv run pytest --hypothesis-profile=thorough
settings.load_profile("ci" if os.environ.get("CI") else "little")
