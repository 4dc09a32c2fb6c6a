"""The command line: words in, words out, exit codes. It decides nothing: every verb is a few calls of the facade below it.

One module per noun, loaded when its verb is called; nothing below imports from here.
"""
