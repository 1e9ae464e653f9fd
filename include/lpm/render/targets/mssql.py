"""T-SQL."""
