/** The whole list as a connection with one page, for caches. */
export const page = (edges) => ({
  __typename: "UserConnection",
  edges,
  pageInfo: {
    __typename: "PageInfo", hasNextPage: false, hasPreviousPage: false,
    startCursor: edges.at(0)?.cursor ?? null, endCursor: edges.at(-1)?.cursor ?? null,
  },
})
