"""Unique values that pass from one user to another within a batch."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from users.entity import KEY_COLUMNS, Key, held_values
from users.snapshot import Snapshot
from users.validation import ParsedCommand


class Handovers:
    """The values that upserts of a batch replace, so that other commands can take them.

    A value is released only if its command succeeds. So each user keeps or gives up what they have,
    and no value has two holders.
    """

    def __init__(self, batch: Sequence[ParsedCommand], snapshot: Snapshot) -> None:
        self._released: dict[int, list[Key]] = {}  # by the position of the command
        self._wanted: defaultdict[Key, list[int]] = defaultdict(list)
        users = {key: user for user in snapshot.users.values() for key in held_values(user)}
        for position, parsed in enumerate(batch):
            columns = parsed.columns
            for column in KEY_COLUMNS.values():
                if columns.get(column) is not None:
                    self._wanted[column, columns[column]].append(position)
            if parsed.by in users:
                self._released[position] = [
                    key
                    for key in held_values(users[parsed.by])
                    if key != parsed.by and columns.get(key[0], key[1]) != key[1]
                ]

    @property
    def released(self) -> set[Key]:
        return {key for keys in self._released.values() for key in keys}

    def revoke(self, rejected: Iterable[int]) -> bool:
        """Users of rejected commands keep their values, so who wanted these keeps theirs, too.

        Returns whether any value is not released any longer.
        """
        is_changed = False
        remaining = list(rejected)
        while remaining:
            for key in self._released.pop(remaining.pop(), ()):
                is_changed = True
                remaining += self._wanted[key]
        return is_changed
