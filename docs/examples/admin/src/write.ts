import { useApolloClient } from "@apollo/client/react"
import { useRef } from "react"
import type { Input, Payload, Write } from "./documents"

/** Returns a function that writes, and returns the payload; without an answer, one with the error `FAILED`.
 *
 * If no answer arrived, the write may be done. The same input is then sent with the same key, and is not
 * written twice. After an answer, and with another input, it is another write with its own key.
 */
export function useWrite() {
  const client = useApolloClient()
  const unanswered = useRef({ text: "", key: "" })
  return async (mutation: Write, input: Input): Promise<Payload> => {
    const text = JSON.stringify([mutation, input])
    if (text !== unanswered.current.text) unanswered.current = { text, key: crypto.randomUUID() }
    const variables = { input: { ...input, idempotencyKey: unanswered.current.key } }
    try {
      const { data } = await client.mutate({ mutation, variables })
      unanswered.current.text = ""
      return data!.write!
    } catch (error) {
      return { errors: [{ __typename: "", code: "FAILED", message: (error as Error).message, path: [] }] }
    }
  }
}
