"""A session reader: one command a line, with what it printed."""

from duel.conversation.model import AgentCall, AgentReply, Said, Session


def recognizes(sample):
    return any("dear diary" in record for record in sample)


def read(log, all_branches=False):
    for row in log.values():
        call = AgentCall("c", "bash", {"command": row["dear diary"]}, result="ok")
        yield Session("diary", "x", [Said("Fix the parser."), AgentReply("Look first.", [call])]).tally()
