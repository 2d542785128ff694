"""An executor: it has no repository at all."""

from duel.execution.executor import ExecutionError


class Paper:
    name = "paper"

    async def state(self, start):
        raise ExecutionError("no-repository", f"paper holds no {start.repository}")

    def describe(self):
        return "paper and pencil"

    async def close(self):
        pass


def make(settings, sources):
    return Paper()
