"""A git commit, as far as people are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.model import moments


@dataclass(frozen=True)
class Commit:
    """`sha` is 40 (or 64) hex digits; `author` a name, `subject` the message's first line, `time` the committer's,
    aware."""

    sha: str
    author: str
    subject: str
    time: datetime

    def as_json(self) -> dict[str, str]:
        """The shape in `/status`."""
        time = moments.rfc3339(self.time)
        return {"sha": self.sha, "author": self.author, "subject": self.subject, "time": time}
