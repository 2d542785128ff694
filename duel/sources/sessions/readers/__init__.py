"""One module a format: `recognizes(sample)`, `read(log, all_branches)`, and `FOLDERS` where its agent writes by itself.

A format's name is its module's with dashes. One from outside is an entry point of the group `duel.session_reader`.
"""
