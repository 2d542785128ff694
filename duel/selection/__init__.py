"""Choosing one of several candidates of a side: who stays in the running, and the knockout among them."""
