"""FACTS: what FlowStone remembers, in SQL. One module per noun, one code for every database; no asset code, no values.

Statements are built in SQLAlchemy Core and compiled once; hot ones run on the driver's cursor inside the transaction.
"""
