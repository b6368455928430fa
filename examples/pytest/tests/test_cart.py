import pytest

from shop.cart import OutOfStock
from shop.money import Money


def test_a_new_cart_is_empty(cart):
    assert cart.count() == 0
    assert cart.total() == Money(0)


def test_adding_twice_counts_twice(cart):
    cart.add("mug")
    cart.add("mug", 2)
    assert cart.count() == 3
    assert cart.subtotal() == Money(3750)


def test_removing_takes_all_of_a_product(cart):
    cart.add("mug", 2)
    cart.add("poster")
    cart.remove("mug")
    assert cart.subtotal() == Money(899)


def test_more_than_the_stock_is_refused(cart):
    cart.add("poster", 3)
    with pytest.raises(OutOfStock, match="4 wanted, 3 in stock"):
        cart.add("poster")
    assert cart.count() == 3


def test_an_unknown_product_is_refused(cart):
    with pytest.raises(KeyError):
        cart.add("unicorn")
