"""Amounts in cents, so that no test depends on floating point."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Money:
    cents: int

    def __add__(self, other: "Money") -> "Money":
        return Money(self.cents + other.cents)

    def __mul__(self, count: int) -> "Money":
        return Money(self.cents * count)

    def percent_off(self, percent: int) -> "Money":
        """The price after a discount, rounded down to whole cents."""
        if not 0 <= percent <= 100:
            raise ValueError(f"a discount is between 0 and 100 percent, not {percent}")
        return Money(self.cents * (100 - percent) // 100)

    def __str__(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02d} EUR"
