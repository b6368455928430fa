import pytest

from shop.money import Money


@pytest.mark.parametrize(
    ("cents", "text"),
    [(0, "0.00 EUR"), (5, "0.05 EUR"), (499, "4.99 EUR"), (125000, "1250.00 EUR")],
)
def test_amounts_are_written_with_two_decimals(cents, text):
    assert str(Money(cents)) == text


@pytest.mark.parametrize(("percent", "expected"), [(0, 999), (10, 899), (50, 499), (100, 0)])
def test_discounts_round_down(percent, expected):
    assert Money(999).percent_off(percent) == Money(expected)


@pytest.mark.parametrize("percent", [-1, 101])
def test_absurd_discounts_are_refused(percent):
    with pytest.raises(ValueError, match="between 0 and 100"):
        Money(999).percent_off(percent)
