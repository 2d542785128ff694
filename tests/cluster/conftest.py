"""The endpoint of the stages' tests."""

from tests.stages.conftest import stand_in

__all__ = ["stand_in"]
