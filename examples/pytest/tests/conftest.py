import time

import pytest

from shop.cart import Cart
from shop.money import Money


@pytest.fixture
def cart():
    return Cart({"mug": (Money(1250), 10), "poster": (Money(899), 3), "lamp": (Money(5400), 1)})


@pytest.fixture(autouse=True)
def pace():
    """A quarter of a second per test, as a test against a real service would take: the log can be watched growing."""
    time.sleep(0.25)
