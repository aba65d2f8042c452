"""Real servers for the tests of what is deployed."""

from tests.serving.conftest import start_server

__all__ = ["start_server"]
