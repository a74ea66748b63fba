// What Apollo Server, Yoga and Mercurius have in common: a schema of Roster's shape, and its
// resolvers over pg, with a pool of ten, named statements, and a DataLoader for each request.
import { randomUUID } from 'node:crypto'
import DataLoader from 'dataloader'
import { GraphQLScalarType } from 'graphql'
import pg from 'pg'

export const port = Number(process.env.BENCH_PORT)

export const typeDefs = `#graphql
  scalar DateTime
  enum UserStatus { ACTIVE DEACTIVATED DELETED }
  type User {
    id: ID!
    username: String!
    email: String!
    displayName: String
    status: UserStatus!
    version: Int!
    createdAt: DateTime!
    updatedAt: DateTime!
  }
  type UserEdge { cursor: String! node: User! }
  type PageInfo {
    hasNextPage: Boolean!
    hasPreviousPage: Boolean!
    startCursor: String
    endCursor: String
  }
  type UserConnection { edges: [UserEdge!]! pageInfo: PageInfo! }
  input CreateUserInput { username: String! email: String! displayName: String! }
  type CreateUserPayload { user: User! }
  type Query {
    user(id: ID!): User
    users(first: Int = 20): UserConnection
  }
  type Mutation { createUser(input: CreateUserInput!): CreateUserPayload }
`

const columns = `id, username, email, display_name AS "displayName", status, version,
  created_at AS "createdAt", updated_at AS "updatedAt"`
const byIds = `SELECT ${columns} FROM users WHERE id = ANY($1::bigint[])`
const newest = `SELECT ${columns} FROM users WHERE status != 'DELETED'
  ORDER BY created_at DESC, id DESC LIMIT $1`
const addUser = `INSERT INTO users (username, username_key, email, email_key, display_name,
    display_name_key, is_active, status, status_changed_at, version, created_at, updated_at)
  VALUES ($1, $2, $3, $4, $5, $6, true, 'ACTIVE', $7, 1, $7, $7)
  RETURNING ${columns}`
const addEvent = `INSERT INTO user_events (user_id, type, at, actor_kind, actor_label, request_id,
    changes, version_after)
  VALUES ($1, 'CREATED', $2, 'system', 'peer', $3, $4, 1)`

const pool = new pg.Pool({ connectionString: process.env.BENCH_DATABASE_URL, max: 10 })

export const context = () => ({ users: new DataLoader(load) })

async function load(ids) {
  const { rows } = await pool.query({ name: 'byIds', text: byIds, values: [ids] })
  const found = new Map(rows.map(row => [row.id, row]))
  return ids.map(id => found.get(id) ?? null)
}

export const resolvers = {
  DateTime: new GraphQLScalarType({ name: 'DateTime', serialize: at => at.toISOString() }),
  Query: {
    user: (_, { id }, { users }) => users.load(id),
    async users(_, { first }) {
      const { rows } = await pool.query({ name: 'newest', text: newest, values: [first + 1] })
      const edges = rows.slice(0, first).map(node => ({ cursor: cursor(node), node }))
      return {
        edges,
        pageInfo: {
          hasNextPage: rows.length > first,
          hasPreviousPage: false,
          startCursor: edges.at(0)?.cursor,
          endCursor: edges.at(-1)?.cursor,
        },
      }
    },
  },
  Mutation: {
    async createUser(_, { input }) {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        const user = await add(client, input)
        await client.query('COMMIT')
        return { user }
      } catch (error) {
        await client.query('ROLLBACK')
        throw error
      } finally {
        client.release()
      }
    },
  },
}

async function add(client, { username, email, displayName }) {
  const now = new Date()
  const values = [username, email, displayName].flatMap(text => [text, text.toLowerCase()])
  const { rows } = await client.query({ name: 'addUser', text: addUser, values: [...values, now] })
  const after = { username, email, displayName, status: 'ACTIVE' }
  const changes = Object.entries(after).map(([field, after]) => ({ field, before: null, after }))
  await client.query({
    name: 'addEvent',
    text: addEvent,
    values: [rows[0].id, now, randomUUID(), JSON.stringify(changes)],
  })
  return rows[0]
}

function cursor({ createdAt, id }) {
  return Buffer.from(JSON.stringify([createdAt, id])).toString('base64url')
}
