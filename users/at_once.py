"""The creation of one user, written with its event in one round trip that is a whole transaction.

It is for what is decided before anything is read: who asks is no user of the directory who could be
switched off meanwhile, no key is claimed, and no rule is broken. All else is the service's.
"""

from collections.abc import Callable
from datetime import datetime

from db.engine import Database
from db.outcome import Write
from users.changeset import ChangeSet, Snapshot, row_of
from users.clock import now
from users.commands import Command, CommandResults, Create, UniquenessRace
from users.identity import UsernameEmails
from users.policy import Caller, authorize, redact_result
from users.recorder import Recorder
from users.validation import ParsedCommand


async def add_at_once(
    database: Database,
    caller: Caller,
    command: Command,
    request_id: str | None = None,
    write: Write | None = None,
    clock: Callable[[], datetime] = now,
    username_emails: UsernameEmails = UsernameEmails.OWN,
) -> CommandResults | None:
    """Create the user; None, with nothing done, where that takes the service or is refused.

    Raises `UniquenessRace`, with nothing done, where a unique value is taken.
    """
    if not isinstance(command, Create) or command.validate_only:
        return None
    if caller.user_id is not None or authorize(caller, command):
        return None
    recorder = Recorder(caller.actor, request_id)
    change_set = ChangeSet(Snapshot({}), recorder, username_emails=username_emails)
    result = change_set.apply(ParsedCommand.of(command), clock())
    if result.user is None:
        return None
    [event] = change_set.events
    user_id = await database.add(row_of(result.user), event, write)
    if user_id is None:
        raise UniquenessRace
    result.user.id = user_id
    return CommandResults([redact_result(caller, result)])
