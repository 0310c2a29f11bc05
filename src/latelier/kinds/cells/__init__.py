"""How text and Parquet become columns of numbers and codes and go back: what the kind ``tables`` is made of."""
