import { defineConfig } from "vite"

// The page and the API have one origin: Vite keeps the Host header (changeOrigin is false).
const proxy = { "/graphql": { target: process.env.ROSTER_URL ?? "http://127.0.0.1:8000", ws: true } }

export default defineConfig({
  server: { proxy },
  preview: {
    proxy,
    // The built page needs nothing but its own files. Send the same header in production.
    headers: {
      "content-security-policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
  },
})
