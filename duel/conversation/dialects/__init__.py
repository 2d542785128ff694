"""How agents write an action into their text: a module a dialect, found by its name.

A dialect offers `find(content, number)`: the reply with its calls taken out of the text, or None where the text holds
no action of the dialect; `number` makes ids of calls unique. It may offer `results(content)`: what an answer to its
calls says, one (text, is_error) a call, and `settle(calls)`: what only the calls of a whole session tell.
"""
