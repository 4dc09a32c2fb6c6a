"""Log lines: the one shape of FlowStone's own and of users', and the capture of what users' code says.

Nothing here decides who reads them.
"""
