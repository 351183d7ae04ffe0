"""Owners, ids and devices that a namespace cannot hold: calls about them are answered, what was wanted is recorded."""
