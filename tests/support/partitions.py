"""`user_events` in hash partitions by user, as ADR 35 plans it."""

from tests.conftest import run_in

_INDEXES = (("user_id", "id"), ("actor_id", "id"), ("type", "id"), ("at",))


def statements(count: int) -> str:
    """Return the statements that move all events into partitions."""
    name = "user_events"
    partitions = (
        f"CREATE TABLE {name}_{number} PARTITION OF {name} "
        f"FOR VALUES WITH (MODULUS {count}, REMAINDER {number});"
        for number in range(count)
    )
    indexes = (
        f"CREATE INDEX ix_{name}_{'_'.join(columns)} ON {name} ({', '.join(columns)});"
        for columns in _INDEXES
    )
    return f"""
      BEGIN;
      ALTER TABLE {name} RENAME TO whole;
      CREATE TABLE {name} (LIKE whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
        PARTITION BY HASH (user_id);
      {"".join(partitions)}
      INSERT INTO {name} SELECT * FROM whole;
      ALTER SEQUENCE {name}_id_seq OWNED BY {name}.id;
      DROP TABLE whole;
      ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (id, user_id),
        ADD CONSTRAINT uq_{name}_user_id_version_after UNIQUE (user_id, version_after),
        ADD CONSTRAINT fk_{name}_user_id FOREIGN KEY (user_id) REFERENCES users (id)
          ON DELETE RESTRICT;
      {"".join(indexes)}
      COMMIT"""  # noqa: S608 - of constants


async def partition_events(url: str, count: int) -> None:
    await run_in(url, statements(count), "VACUUM ANALYZE")
