"""A directory of any size, generated in PostgreSQL: users, and one event for each."""

from sqlalchemy import text

from db.engine import Database

NEEDLES = 20  # users that match the word `quetzalcoatl`, distributed over the whole list

_USERS = """
INSERT INTO users (username, username_key, email, email_key, display_name, display_name_key,
  external_id, external_id_key, is_active, status, status_changed_at, version, created_at,
  updated_at, deleted_at)
SELECT name, name, name || '@' || domain, name || '@' || domain,
  initcap(first || ' ' || last), first || ' ' || last,
  CASE WHEN n % 3 = 0 THEN 'HR-' || n END, CASE WHEN n % 3 = 0 THEN 'hr-' || n END,
  status = 'ACTIVE', status, created_at + chance * interval '1 year', 1, created_at,
  created_at + chance * interval '1 year',
  CASE WHEN status = 'DELETED' THEN created_at + chance * interval '1 year' END
FROM (
  SELECT n, chance, first, last, first || '.' || last || n AS name,
    (ARRAY['example.com', 'example.net', 'example.org'])[1 + n % 3] AS domain,
    CASE WHEN n % 20 = 0 THEN 'DELETED' WHEN n % 10 = 1 THEN 'DEACTIVATED' ELSE 'ACTIVE' END
      AS status,
    timestamptz '2023-01-01' + (n * 37 % :people)::float8 / :people * interval '3 years'
      AS created_at
  FROM (
    SELECT n, chance, (ARRAY['ada', 'bela', 'carl', 'dora', 'emil', 'frida', 'gustav', 'hanna',
        'ivan', 'julia', 'karim', 'lena', 'maria', 'nina', 'olaf', 'petra', 'quirin', 'rosa',
        'selma', 'tomas'])[1 + (n * 7 + n / 20) % 20] AS first,
      CASE WHEN n % (:people / :needles) = 7 THEN 'quetzalcoatl'
        ELSE substr(translate(md5((n % 5000)::text), '0123456789', 'ghijklmnop'), 1, 7) END
        AS last
    FROM (SELECT n, random() AS chance FROM generate_series(1, :people) n) AS numbered
  ) AS named
) AS made
"""
_EVENTS = """
INSERT INTO user_events (user_id, type, at, actor_kind, actor_label, changes, version_after)
SELECT id, 'CREATED', created_at, 'system', 'benchmark',
  jsonb_build_array(jsonb_build_object('field', 'username', 'before', null, 'after', username)), 1
FROM users ORDER BY id
"""


async def populate(database: Database, people: int) -> None:
    async with database.session() as session, session.transaction():
        await session.execute(text("SELECT setseed(0.5)"))
        await session.execute(text(_USERS), {"people": people, "needles": NEEDLES})
        await session.execute(text(_EVENTS))
    async with database.session() as session:
        await session.execute(text("VACUUM ANALYZE"))
