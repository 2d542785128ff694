"""A judge that is a function: the shorter reply is the better one."""


def shorter(history, first, second):
    return 0 if len(first) == len(second) else 1 if len(first) < len(second) else 2
