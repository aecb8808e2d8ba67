"""What a document is, how it is written down, and the languages that select and change it.

No module here knows about storage, actors or Ray: everything is a pure function of plain Python values.
"""
