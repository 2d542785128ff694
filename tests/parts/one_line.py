"""A kind of reply: one line of text."""

from duel.conversation.tasks import ReplyTask

ONE_LINE = ReplyTask("one-line-1", lambda text: "several-lines" if "\n" in text.strip() else "", "", "")
