// Relay's environment as docs/clients.md configures it.
import { createClient } from "graphql-sse"
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import relay from "relay-runtime"
import { authorization } from "../directory.mjs"

const { Environment, Network, Observable, RecordSource, Store, commitMutation } = relay

// Relay takes any field `id` for the identity of an object, but `NotFoundError.id` is the id of a user.
const { keys } = JSON.parse(await readFile("possible-types.json", "utf8"))
const getDataID = (fields, type) => (keys[type] ? fields[keys[type]] : null)

/** Returns an artifact of relay-compiler, as babel-plugin-relay puts it in place of the document. */
export const artifact = (name) =>
  createRequire(import.meta.url)(`./__generated__/${name}.graphql.js`)

export function newEnvironment(url) {
  const events = createClient({ url: `${url}/graphql` })
  const network = Network.create(
    async ({ id: documentId, text: query, name: operationName }, variables) => {
      const response = await fetch(`${url}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json", ...authorization() },
        body: JSON.stringify({ documentId, query, operationName, variables }),
      })
      return response.json()
    },
    ({ text, name }, variables) =>
      Observable.create((sink) =>
        events.subscribe({ query: text, operationName: name, variables }, sink)),
  )
  const store = new Store(new RecordSource())
  const environment = new Environment({ network, store, getDataID })
  return environment
}

export function mutate(environment, name, variables, options = {}) {
  return new Promise((resolve, reject) =>
    commitMutation(environment, {
      mutation: artifact(name),
      variables,
      onCompleted: (data, errors) => (errors ? reject(errors) : resolve(data)),
      onError: reject,
      ...options,
    }))
}

/** Fetches a query and keeps it: later reads by `read` see what mutations change. */
export async function load(environment, name, variables = {}) {
  const operation = relay.createOperationDescriptor(artifact(name), variables)
  environment.retain(operation)
  await environment.execute({ operation }).toPromise()
  return () => {
    const { data, isMissingData } = environment.lookup(operation.fragment)
    assert.equal(isMissingData, false)
    return data
  }
}
