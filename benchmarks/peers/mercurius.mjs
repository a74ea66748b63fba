// Mercurius 16 on Fastify; a document is compiled by graphql-jit from its second time on.
import Fastify from 'fastify'
import mercurius from 'mercurius'
import { context, port, resolvers, typeDefs } from './directory.mjs'

const app = Fastify()
await app.register(mercurius, { schema: typeDefs, resolvers, context, jit: 1 })
await app.listen({ host: '127.0.0.1', port })
