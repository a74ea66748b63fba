// PostGraphile 5 makes its schema of the database. Users that are not deleted come as a view and a
// creation as a function, as its documentation advises, both in a schema of their own.
import { createServer } from 'node:http'
import pg from 'pg'
import { postgraphile } from 'postgraphile'
import { makePgService } from 'postgraphile/adaptors/pg'
import { grafserv } from 'postgraphile/grafserv/node'
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'

const DATABASE = `
  CREATE SCHEMA IF NOT EXISTS postgraphile;
  CREATE OR REPLACE VIEW postgraphile.users AS SELECT * FROM public.users;
  CREATE OR REPLACE VIEW postgraphile.listed AS
    SELECT * FROM public.users WHERE status != 'DELETED';
  COMMENT ON VIEW postgraphile.users IS '@primaryKey id';
  COMMENT ON VIEW postgraphile.listed IS '@primaryKey id';
  CREATE OR REPLACE FUNCTION postgraphile.add_user(username text, email text, display_name text)
  RETURNS postgraphile.users LANGUAGE plpgsql VOLATILE AS $$
  DECLARE
    added postgraphile.users;
  BEGIN
    INSERT INTO public.users (username, username_key, email, email_key, display_name,
      display_name_key, is_active, status, status_changed_at, version, created_at, updated_at)
    VALUES ($1, lower($1), $2, lower($2), $3, lower($3), true, 'ACTIVE', now(), 1, now(), now())
    RETURNING * INTO added;
    INSERT INTO public.user_events (user_id, type, at, actor_kind, actor_label, request_id, changes,
      version_after)
    VALUES (added.id, 'CREATED', now(), 'system', 'peer', gen_random_uuid()::text,
      jsonb_build_array(
        jsonb_build_object('field', 'username', 'before', NULL, 'after', $1),
        jsonb_build_object('field', 'email', 'before', NULL, 'after', $2),
        jsonb_build_object('field', 'displayName', 'before', NULL, 'after', $3),
        jsonb_build_object('field', 'status', 'before', NULL, 'after', 'ACTIVE')
      ), 1);
    RETURN added;
  END $$;
`

// Grafast wants Node 22 for this one function; all else runs on Node 20.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const connectionString = process.env.BENCH_DATABASE_URL
const client = new pg.Client({ connectionString })
await client.connect()
await client.query(DATABASE)
await client.end()

const poolConfig = { connectionString, max: 10 }
const pgl = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ ...poolConfig, poolConfig, schemas: ['postgraphile'] })],
  grafserv: { graphiql: false, watch: false },
})
const server = createServer()
server.on('error', console.error)
await pgl.createServ(grafserv).addTo(server)
server.listen(Number(process.env.BENCH_PORT), '127.0.0.1')
