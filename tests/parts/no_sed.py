"""An audit check: nobody edits with sed."""


def no_sed(reply, answer, commit):
    return "it edits with sed" if "sed " in reply else ""
