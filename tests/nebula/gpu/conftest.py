"""What the GPU tests share."""

from tests.brokers import open_broker

__all__ = ["open_broker"]
