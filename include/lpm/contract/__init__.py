"""The change event: its fields, its order and its one definition as Spark SQL."""
