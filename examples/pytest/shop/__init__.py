"""A small shop: the program under test of Gantry's example suite."""
