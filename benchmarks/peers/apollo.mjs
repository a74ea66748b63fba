// Apollo Server 5 by its standalone start, as its documentation begins; its caches are on by default.
import { ApolloServer } from '@apollo/server'
import { ApolloServerPluginLandingPageDisabled } from '@apollo/server/plugin/disabled'
import { startStandaloneServer } from '@apollo/server/standalone'
import { context, port, resolvers, typeDefs } from './directory.mjs'

const plugins = [ApolloServerPluginLandingPageDisabled()]
const server = new ApolloServer({ typeDefs, resolvers, plugins, cache: 'bounded' })
await startStandaloneServer(server, {
  context: async () => context(),
  listen: { host: '127.0.0.1', port },
})
