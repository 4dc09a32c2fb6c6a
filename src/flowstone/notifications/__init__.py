"""Messages to people: the outbox, which is written in the transaction of the cause, its delivery, and the channels.

What is worth a message and how it gets there lives here; deciding what happens to a run, and users' data, may not.
"""
