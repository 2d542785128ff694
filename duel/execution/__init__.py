"""Running what a model wrote: a sandboxed checkout, the replay of a history, and what each command did."""
