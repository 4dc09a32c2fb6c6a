"""Signatures that people make: OpenSSH's format, whose key is whose, and the text that is signed for a decision.

Whether somebody may decide, and what follows from it, is not known here; nothing here opens a database, or trusts a key that
no file lists.
"""
