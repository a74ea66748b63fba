// Checks each text of a table with its rule, as a form does: node rules.mjs <table>
import { readFile } from "node:fs/promises"

/** The text that is stored, as far as a form can know it. */
function normalised(text, normalisation) {
  if (normalisation === "NONE") return text
  const composed = text.normalize("NFC")
  return normalisation === "TRIMMED_NFC" ? composed.trim() : composed
}

function checks({ min, max, pattern, normalisation }) {
  // The attribute `pattern` of an input element has the flag `v`, and matches the whole text.
  const expressions = pattern === null ? [] : [
    new RegExp(pattern, "u"), new RegExp(pattern, "v"), new RegExp(`^(?:${pattern})$`, "v"),
  ]
  return (text) => {
    const length = [...normalised(text, normalisation)].length
    return [length >= min && length <= max, ...expressions.map((each) => each.test(text))]
  }
}

const table = JSON.parse(await readFile(process.argv[2], "utf8"))
const answers = table.map(({ rule, texts }) => {
  const check = checks(rule)
  return texts.map((text) => check(text).every(Boolean))
})
process.stdout.write(JSON.stringify(answers))
