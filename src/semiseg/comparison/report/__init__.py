"""A comparison for people: one self-contained HTML page, and its figures as files for a paper.

``write.write`` makes them all; nothing is imported before it is needed, as the terminal needs only the words.
"""
