"""Orders and how they move from paid to delivered."""

from shop.cart import Cart

NEXT = {"paid": "packed", "packed": "shipped", "shipped": "delivered"}


class Order:
    def __init__(self, cart: Cart):
        if cart.count() == 0:
            raise ValueError("an order needs at least one product")
        self.total = cart.total()
        self.state = "paid"

    def advance(self) -> str:
        if self.state not in NEXT:
            raise ValueError(f"an order that is {self.state} does not move any further")
        self.state = NEXT[self.state]
        return self.state
