"""Alerts: what was observed, what follows from it, and telling people."""
