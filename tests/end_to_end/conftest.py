"""One fleet for all end-to-end tests."""

from tests.support.fleet import fleet

__all__ = ["fleet"]
