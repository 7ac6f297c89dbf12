from .base import BaseAlgorithm

__all__ = ["BaseAlgorithm"]
