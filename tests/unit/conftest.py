"""What all async tests here have in common."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
