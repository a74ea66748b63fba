// GraphQL Yoga 5 on Node's own server; its cache of parsed and validated documents is on by default.
import { createServer } from 'node:http'
import { createSchema, createYoga } from 'graphql-yoga'
import { context, port, resolvers, typeDefs } from './directory.mjs'

const schema = createSchema({ typeDefs, resolvers })
const yoga = createYoga({ schema, context, graphiql: false, landingPage: false, logging: 'error' })
createServer(yoga).listen(port, '127.0.0.1')
