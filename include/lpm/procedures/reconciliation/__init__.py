"""Reconciliation: prove that each company's database is what the source says, and repair what is not."""
