"""A cart: products, their counts, and one voucher."""

from shop.money import Money

SHIPPING = Money(499)
FREE_SHIPPING_FROM = Money(5000)


class OutOfStock(Exception):
    pass


class Cart:
    def __init__(self, stock: dict[str, tuple[Money, int]]):
        self._stock = stock
        self._items: dict[str, int] = {}
        self._discount_percent = 0

    def add(self, product: str, count: int = 1) -> None:
        if product not in self._stock:
            raise KeyError(product)
        wanted = self._items.get(product, 0) + count
        if wanted > self._stock[product][1]:
            raise OutOfStock(f"{product}: {wanted} wanted, {self._stock[product][1]} in stock")
        self._items[product] = wanted

    def remove(self, product: str) -> None:
        self._items.pop(product, None)

    def apply_voucher(self, percent: int) -> None:
        self._discount_percent = percent

    def count(self) -> int:
        return sum(self._items.values())

    def subtotal(self) -> Money:
        total = Money(0)
        for product, count in self._items.items():
            total += self._stock[product][0] * count
        return total.percent_off(self._discount_percent)

    def shipping(self) -> Money:
        if not self._items or self.subtotal() >= FREE_SHIPPING_FROM:
            return Money(0)
        return SHIPPING

    def total(self) -> Money:
        return self.subtotal() + self.shipping()
