import assert from "node:assert/strict"
import { Suspense, createElement } from "react"
import reactRelay from "react-relay"
import { act, create } from "react-test-renderer"
import { createUsers } from "../directory.mjs"
import { artifact, newEnvironment } from "./environment.mjs"

const { RelayEnvironmentProvider, useLazyLoadQuery, usePaginationFragment } = reactRelay
const EVERYBODY = "abcdefg".split("").map((letter) => letter.repeat(3))

globalThis.IS_REACT_ACT_ENVIRONMENT = true

/** Renders a component that pages through users; the result always has its current state. */
async function renderPages(url, variables) {
  const current = {}
  const Page = () => {
    const query = useLazyLoadQuery(artifact("UsersPageQuery"), variables)
    Object.assign(current, usePaginationFragment(artifact("Users_page"), query))
    return null
  }
  const environment = newEnvironment(url)
  await act(() =>
    create(
      createElement(RelayEnvironmentProvider, { environment },
        createElement(Suspense, { fallback: null }, createElement(Page))),
    ))
  while (!current.data) await act(() => new Promise(setImmediate))
  return current
}

const names = ({ data }) => data.users.edges.map(({ node }) => node.username)

const load = (loader) =>
  act(() => new Promise((resolve, reject) =>
    loader(3, { onComplete: (error) => (error ? reject(error) : resolve()) })))

export async function paginationFragmentLoadsTheNextPages(url) {
  await createUsers(url, ...EVERYBODY)
  const list = await renderPages(url, { first: 3 })
  assert.deepEqual(names(list), EVERYBODY.slice(0, 3))
  while (list.hasNext) await load(list.loadNext)
  assert.deepEqual(names(list), EVERYBODY)
  assert.equal(list.hasPrevious, false)
}

export async function paginationFragmentLoadsThePreviousPages(url) {
  await createUsers(url, ...EVERYBODY)
  const list = await renderPages(url, { last: 3 })
  assert.deepEqual(names(list), EVERYBODY.slice(4))
  while (list.hasPrevious) await load(list.loadPrevious)
  assert.deepEqual(names(list), EVERYBODY)
  assert.equal(list.hasNext, false)
}

export async function refetchStartsAgainWithOtherVariables(url) {
  await createUsers(url, ...EVERYBODY)
  const list = await renderPages(url, { first: 3 })
  await act(() => { list.refetch({ first: 2 }, { fetchPolicy: "network-only" }) })
  while (names(list).length !== 2) await act(() => new Promise(setImmediate))
  assert.deepEqual(names(list), EVERYBODY.slice(0, 2))
}
